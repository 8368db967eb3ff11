// SPDX-License-Identifier: Apache-2.0

/// One question to the arbiter. The reply must carry the same `number`; replies to any other number are ignored.
public struct ArbiterRequest: Sendable, Hashable {
    public enum Operation: Sendable, Hashable {
        case read
        case compareAndSet(ArbiterProposal)
    }

    public let number: UInt64
    public let operation: Operation

    public init(number: UInt64, operation: Operation) {
        self.number = number
        self.operation = operation
    }
}
