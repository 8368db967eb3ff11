// SPDX-License-Identifier: Apache-2.0

public import UnderstudyCore

/// A place outside both hosts that carries out compare-and-set on one record per virtual machine.
///
/// The calls block; use them from a dedicated thread, never from the cooperative pool.
public protocol ArbiterClient: Sendable {
    /// The stored record, nil if the key is absent. A value that is no record is an error, never nil.
    func read(key: String) throws(ArbiterError) -> ArbiterRecord?

    /// Tries one proposal. Every failure after which the proposal may have been carried out is `.unknown`.
    /// - Parameter timeout: nanoseconds for the whole call, all endpoints together.
    func compareAndSet(key: String, proposal: ArbiterProposal, timeout: UInt64) -> ArbiterAnswer
}
