// SPDX-License-Identifier: Apache-2.0

/// Names one epoch beyond confusion. Every message about an epoch carries it, so that no stale acknowledgement ever matches.
public struct EpochIdentity: Sendable, Equatable, Hashable {
    /// The arbiter's generation in which the epoch was cut.
    public let generation: UInt64
    /// Random number drawn by the primary for this session; a new one after every reconnection.
    public let sessionNonce: UInt64
    /// 1 is the first complete epoch, whose cut closes the output gate.
    public let epoch: UInt64

    public init(generation: UInt64, sessionNonce: UInt64, epoch: UInt64) {
        self.generation = generation
        self.sessionNonce = sessionNonce
        self.epoch = epoch
    }
}
