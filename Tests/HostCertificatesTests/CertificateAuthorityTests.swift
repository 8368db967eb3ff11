import Foundation
import Glibc
import Testing

@testable import HostCertificates

@Suite struct CertificateAuthorityTests {
    private static let now = Int64(Date().timeIntervalSince1970)
    private let folder = FileManager.default.temporaryDirectory.path + "/understudy-pki-\(UUID().uuidString)"

    private func withFolder(_ body: () throws -> Void) rethrows {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body()
    }

    private func mode(_ path: String) -> mode_t {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mode & 0o777 : 0
    }

    private func code(_ body: () throws -> Void) -> CertificateError.Code? {
        do {
            try body()
            return nil
        } catch { return (error as? CertificateError)?.code }
    }

    @Test func `a host's certificate names it, is signed by the authority and belongs to its key`() throws {
        try withFolder {
            let authority = try CertificateAuthority.create(in: folder, days: 100, now: Self.now)
            let (files, summary) = try authority.issue("alpha", days: 50, now: Self.now)
            #expect(summary.subject == "CN=alpha")
            #expect(summary.names == ["alpha"])
            #expect(!summary.isAuthority)
            #expect(summary.daysLeft(at: Self.now) == 50)
            #expect(try authority.summary.isAuthority)
            #expect(try authority.summary.subject == "CN=Understudy authority")
            let identity = try HostIdentity.read(
                host: "alpha", authorityFile: authority.files.certificate, certificateFile: files.certificate, keyFile: files.key)
            #expect(identity.certificate == summary)
            #expect(identity.validity(at: Self.now) == .valid)
        }
    }

    @Test func `private keys are for their owner alone`() throws {
        try withFolder {
            let authority = try CertificateAuthority.create(in: folder, days: 100, now: Self.now)
            let files = try authority.issue("alpha", days: 50, now: Self.now).files
            #expect(mode(authority.files.key) == 0o600)
            #expect(mode(files.key) == 0o600)
            #expect(mode(files.certificate) == 0o644)
            #expect(mode(folder) == 0o700)
        }
    }

    @Test func `nothing that is there is overwritten`() throws {
        try withFolder {
            let authority = try CertificateAuthority.create(in: folder, days: 100, now: Self.now)
            let files = try authority.issue("alpha", days: 50, now: Self.now).files
            let before = try [authority.files.key, authority.files.certificate, files.key, files.certificate].map {
                try Data(contentsOf: URL(fileURLWithPath: $0))
            }
            #expect(code { _ = try CertificateAuthority.create(in: folder, days: 100, now: Self.now) } == .exists)
            #expect(code { _ = try authority.issue("alpha", days: 50, now: Self.now) } == .exists)
            // A lost certificate does not permit a new key either.
            try FileManager.default.removeItem(atPath: files.certificate)
            #expect(code { _ = try authority.issue("alpha", days: 50, now: Self.now) } == .exists)
            let after = try [authority.files.key, authority.files.certificate, files.key].map {
                try Data(contentsOf: URL(fileURLWithPath: $0))
            }
            #expect(after == Array(before.prefix(3)))
        }
    }

    @Test func `an authority is found again and its hosts end with it`() throws {
        try withFolder {
            _ = try CertificateAuthority.create(in: folder, days: 10, now: Self.now)
            let summary = try CertificateAuthority.load(from: folder).issue("beta", days: 800, now: Self.now).summary
            #expect(summary.daysLeft(at: Self.now) == 10)
            let later = Self.now + 11 * 86_400
            #expect(code { _ = try CertificateAuthority.load(from: folder).issue("gamma", days: 1, now: later) } == .expired)
        }
    }

    @Test(arguments: ["", "-x", ".x", "a/b", "a b", "authority", "über", String(repeating: "a", count: 65)])
    func `a name that cannot be a host's is refused`(_ name: String) throws {
        try withFolder {
            let authority = try CertificateAuthority.create(in: folder, days: 10, now: Self.now)
            #expect(code { _ = try authority.issue(name, days: 1, now: Self.now) } == .badRequest)
        }
    }

    @Test func `a missing authority is told with what to do`() {
        #expect(code { _ = try CertificateAuthority.load(from: folder) } == .file)
    }

    @Test func `files that do not belong together are named`() throws {
        try withFolder {
            let authority = try CertificateAuthority.create(in: folder, days: 10, now: Self.now)
            let alpha = try authority.issue("alpha", days: 5, now: Self.now).files
            let beta = try authority.issue("beta", days: 5, now: Self.now).files
            let other = try CertificateAuthority.create(in: folder + "/other", days: 10, now: Self.now)
            func problem(_ host: String, _ authority: String, _ certificate: String, _ key: String) -> String {
                do {
                    _ = try HostIdentity.read(host: host, authorityFile: authority, certificateFile: certificate, keyFile: key)
                    return "accepted"
                } catch { return "\(error)" }
            }
            let own = authority.files.certificate
            #expect(problem("alpha", own, alpha.certificate, alpha.key) == "accepted")
            #expect(problem("ALPHA", own, alpha.certificate, alpha.key) == "accepted")
            #expect(problem("alpha", own, alpha.certificate, beta.key).contains("is not the key of"))
            #expect(problem("alpha", own, beta.certificate, beta.key).contains("proves the name beta and not alpha"))
            #expect(problem("alpha", other.files.certificate, alpha.certificate, alpha.key).contains("was not signed by the authority"))
            #expect(problem("alpha", own, alpha.key, alpha.key).contains("holds no certificate"))
            #expect(problem("alpha", own, alpha.certificate, alpha.certificate).contains("holds no private key"))
            #expect(problem("alpha", own, folder + "/none", alpha.key).contains("cannot be read"))
        }
    }

    @Test func `the end is counted in days, and warned of thirty days before`() {
        func summary(_ from: Int64, _ to: Int64) -> CertificateSummary {
            CertificateSummary(
                subject: "", issuer: "", names: [], isAuthority: false, notBefore: from, notAfter: to, fingerprint: "")
        }
        let day: Int64 = 86_400
        #expect(summary(0, 100 * day).validity(at: 69 * day) == .valid)
        #expect(summary(0, 100 * day).validity(at: 71 * day) == .expiresSoon)
        #expect(summary(0, 100 * day).validity(at: 100 * day + 1) == .expired)
        #expect(summary(10, 100 * day).validity(at: 5) == .notYetValid)
        #expect(summary(0, 100 * day).daysLeft(at: 99 * day + 1) == 0)
        #expect(summary(0, 100 * day).daysLeft(at: 100 * day + 1) == -1)
    }

    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/openssl"), "needs the openssl program"))
    func `openssl verifies what was issued, for both ends of a connection, and reads the same fingerprint`() throws {
        try withFolder {
            let authority = try CertificateAuthority.create(in: folder, days: 100, now: Self.now)
            let (files, summary) = try authority.issue("alpha", days: 50, now: Self.now)
            for purpose in ["sslserver", "sslclient"] {
                let said = try openssl(
                    "verify", "-x509_strict", "-purpose", purpose, "-verify_hostname", "alpha", "-CAfile", authority.files.certificate,
                    files.certificate)
                #expect(said.contains(": OK"), "\(said)")
            }
            let print = try openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", files.certificate)
            #expect(print.contains(summary.fingerprint))
        }
    }

    private func openssl(_ arguments: String...) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = arguments
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return String(decoding: text, as: UTF8.self)
    }
}
