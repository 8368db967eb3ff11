// SPDX-License-Identifier: Apache-2.0

/// What the arbiter said to one compare-and-set.
public enum ArbiterAnswer: Sendable, Hashable {
    /// The proposal was carried out; this record is now stored (nil after a deletion).
    case won(ArbiterRecord?)
    /// The stored record was not the expected one; what was found instead (nil: no record).
    case lost(current: ArbiterRecord?)
    /// No answer, or one that cannot be understood: the proposal may have been, and may still be, carried out.
    case unknown(reason: String)
}
