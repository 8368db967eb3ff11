internal import Foundation
internal import HostCertificates

/// A certificate authority for one laboratory, by the code of `understudy pki`.
struct LabAuthority {
    private let authority: CertificateAuthority
    private static let days = 2

    /// Makes the authority's key and certificate.
    init(folder: String) throws(DemonstrationError) {
        do throws(CertificateError) {
            authority = try CertificateAuthority.create(
                in: folder, name: "Understudy laboratory", days: Self.days, now: Int64(Date().timeIntervalSince1970))
        } catch {
            throw DemonstrationError(.file, error.message, cause: error)
        }
    }

    var certificate: String { authority.files.certificate }

    /// Makes a host's key and certificate; returns their paths.
    func issue(_ host: String) throws(DemonstrationError) -> (certificate: String, key: String) {
        do throws(CertificateError) {
            let files = try authority.issue(host, days: Self.days, now: Int64(Date().timeIntervalSince1970)).files
            return (files.certificate, files.key)
        } catch {
            throw DemonstrationError(.file, error.message, cause: error)
        }
    }
}
