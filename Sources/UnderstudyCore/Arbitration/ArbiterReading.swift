// SPDX-License-Identifier: Apache-2.0

/// What a read of the arbiter gave.
public enum ArbiterReading: Sendable, Hashable {
    /// The stored record; nil: the key is absent.
    case record(ArbiterRecord?)
    /// The arbiter did not answer, or nothing that can be understood.
    case unknown(reason: String)
}
