/// Why a certificate or key could not be made or read.
public struct CertificateError: Error, Sendable, CustomStringConvertible {
    public enum Code: Sendable, Equatable {
        /// A name, a number of days or a folder that cannot be used.
        case badRequest
        /// A file is there already and is not overwritten.
        case exists
        /// A file is missing, cannot be read or cannot be written.
        case file
        /// A file's content is no certificate or key, or the two do not belong together.
        case content
        /// The authority's certificate has expired.
        case expired
        /// libcrypto failed.
        case system
    }

    public let code: Code
    /// What failed and what the operator can do about it.
    public let message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}
