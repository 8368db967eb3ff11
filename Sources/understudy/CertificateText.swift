import Foundation
import HostCertificates

/// A certificate for people.
enum CertificateText {
    static func render(_ summary: CertificateSummary, file: String, now: Int64 = PKICommand.now) -> String {
        let left = summary.daysLeft(at: now)
        let state =
            switch summary.validity(at: now) {
            case .valid: "\(left) days left"
            case .expiresSoon: "EXPIRES SOON, \(left) days left"
            case .expired: "EXPIRED"
            case .notYetValid: "NOT YET VALID"
            }
        return """
            \(file):
              subject      \(Output.oneLine(summary.subject))\(summary.isAuthority ? " (an authority)" : "")
              issuer       \(Output.oneLine(summary.issuer))
              names        \(summary.names.isEmpty ? "none" : Output.oneLine(summary.names.joined(separator: ", ")))
              valid        \(date(summary.notBefore)) to \(date(summary.notAfter)), \(state)
              fingerprint  SHA-256 \(summary.fingerprint)
            """
    }

    static func date(_ seconds: Int64) -> String {
        Date(timeIntervalSince1970: Double(seconds)).formatted(Date.ISO8601FormatStyle())
    }
}

/// A certificate for programs.
struct CertificateDocument: Encodable {
    var file: String
    var key: String?
    var subject: String
    var issuer: String
    var names: [String]
    var authority: Bool
    var notBefore: String
    var notAfter: String
    var daysLeft: Int64
    var state: CertificateSummary.Validity
    var fingerprint: String

    init(file: String, key: String?, _ summary: CertificateSummary, now: Int64 = PKICommand.now) {
        self.file = file
        self.key = key
        subject = summary.subject
        issuer = summary.issuer
        names = summary.names
        authority = summary.isAuthority
        notBefore = CertificateText.date(summary.notBefore)
        notAfter = CertificateText.date(summary.notAfter)
        daysLeft = summary.daysLeft(at: now)
        state = summary.validity(at: now)
        fingerprint = summary.fingerprint
    }
}
