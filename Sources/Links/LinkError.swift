// SPDX-License-Identifier: Apache-2.0

/// Why a link to another host failed.
public struct LinkError: Error, Sendable, CustomStringConvertible {
    /// The kind of failure, for decisions; the message is for the operator.
    public enum Code: String, Sendable {
        /// No connection came about: refused, unreachable, name unknown.
        case connectFailed
        /// The deadline passed. The stream itself is still sound and the call may be made again, unless the message says otherwise.
        case timedOut
        /// The peer closed the connection or the network broke it.
        case closed
        /// `shutdown()` or `close()` was called on this side.
        case shutDown
        /// A record is forged, altered, replayed, out of order or sealed with another key.
        case authenticationFailed
        /// The peer's bytes are no preface, no record or no hello of this protocol.
        case protocolViolation
        /// The peer announces a record or frame larger than the protocol allows.
        case tooLarge
        /// The buffer given is smaller than the record; the record stays in line and can be read into a larger one.
        case bufferTooSmall
        /// The TLS handshake failed: certificate, version, or the peer does not speak TLS.
        case tls
        /// The peer's certificate is valid and carries another name than the configured one.
        case wrongPeer
        /// A certificate, key or address of this side's configuration cannot be used.
        case configuration
        /// An operating system call or libcrypto failed.
        case system
    }

    public let code: Code
    /// What failed and what the operator can do about it.
    public let message: String
    /// The error below, if there is one.
    public let cause: (any Error)?

    public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    public var description: String {
        guard let cause else { return "\(code.rawValue): \(message)" }
        return "\(code.rawValue): \(message) (\(cause))"
    }
}
