// SPDX-License-Identifier: Apache-2.0

/// How a primary's session ended.
public enum PrimaryOutcome: Sendable, Hashable {
    /// Protection never began; guest and network are as they were.
    case cancelled
    /// The arbiter's record does not allow this host to protect the guest.
    case refused
    /// Unprotected on request; the guest runs on.
    case unprotected
    case guestEnded
    /// The backup runs the guest.
    case takenOver
    /// The guest failed and nobody could take over.
    case guestLost
}
