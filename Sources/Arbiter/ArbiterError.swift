// SPDX-License-Identifier: Apache-2.0

/// Why the arbiter could not be asked or understood.
public struct ArbiterError: Error, Sendable, CustomStringConvertible {
    public enum Code: Sendable, Equatable {
        case unreachable
        case timedOut
        case badAnswer
        case refused
        case badConfiguration
        case notShared
        case inputOutput
        /// An older state of the arbiter answered than was seen before.
        case wentBack
        /// etcd wants a user, or does not take the one that was named any more.
        case unauthenticated
    }

    public let code: Code
    /// What failed and what the operator can do.
    public let message: String
    public let cause: (any Error)?

    public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    public var description: String { cause.map { "\(message) (\($0))" } ?? message }
}
