// SPDX-License-Identifier: Apache-2.0

/// One decision: replace exactly `expected` by `proposed`.
public struct ArbiterProposal: Sendable, Hashable {
    /// The record that must be there; nil: the key must be absent.
    public let expected: ArbiterRecord?
    /// The record to write; nil: delete the key.
    public let proposed: ArbiterRecord?

    public init(expected: ArbiterRecord?, proposed: ArbiterRecord?) {
        self.expected = expected
        self.proposed = proposed
    }
}
