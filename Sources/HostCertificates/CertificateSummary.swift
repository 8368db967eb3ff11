/// What a certificate says, for operators and for the daemon's watch over it.
public struct CertificateSummary: Sendable, Equatable, Codable {
    /// As RFC 2253 writes it, such as `CN=alpha`.
    public var subject: String
    public var issuer: String
    /// The DNS entries of the subject alternative name.
    public var names: [String]
    /// True when it may sign others.
    public var isAuthority: Bool
    /// Seconds since 1970.
    public var notBefore: Int64
    public var notAfter: Int64
    /// SHA-256 of the certificate, upper-case hexadecimal with colons, as `openssl x509 -fingerprint -sha256` prints it.
    public var fingerprint: String

    /// How long it is still good.
    public enum Validity: String, Sendable, Codable, Equatable {
        case valid
        /// Within `CertificateSummary.warningDays` of its end.
        case expiresSoon = "expires-soon"
        case expired
        case notYetValid = "not-yet-valid"
    }

    /// Days before the end from which on operators are warned.
    public static let warningDays: Int64 = 30

    /// Whole days until the end, rounded down; negative afterwards.
    public func daysLeft(at now: Int64) -> Int64 { Int64((Double(notAfter - now) / 86_400).rounded(.down)) }

    public func validity(at now: Int64) -> Validity {
        if now > notAfter { return .expired }
        if now < notBefore { return .notYetValid }
        return notAfter - now < Self.warningDays * 86_400 ? .expiresSoon : .valid
    }
}
