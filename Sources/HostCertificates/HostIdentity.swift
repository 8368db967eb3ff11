internal import Glibc

/// The three files by which a host proves its name, read and compared with each other.
public struct HostIdentity: Sendable, Equatable {
    /// The host's certificate.
    public var certificate: CertificateSummary
    /// The authority that signed it.
    public var authority: CertificateSummary
    public var certificateFile: String
    public var authorityFile: String

    /// Reads the files and demands that they belong together and to `host`.
    ///
    /// - Throws: `.file`, `.content`: the message names the file and what to do.
    public static func read(
        host: String, authorityFile: String, certificateFile: String, keyFile: String
    ) throws(CertificateError) -> HostIdentity {
        let authorities = try Certificate.readAll(CertificateFiles.read(authorityFile), from: authorityFile)
        let chain = try Certificate.readAll(CertificateFiles.read(certificateFile), from: certificateFile)
        let key = try PrivateKey.read(CertificateFiles.read(keyFile), from: keyFile)
        guard chain[0].belongs(to: key) else {
            throw CertificateError(.content, "\(keyFile) is not the key of \(certificateFile): copy both files of one host")
        }
        let summary = try chain[0].summary
        let names = summary.names.isEmpty ? [summary.subject.replacing("CN=", with: "")] : summary.names
        guard names.contains(where: { $0.lowercased() == host.lowercased() }) else {
            throw CertificateError(
                .content, "\(certificateFile) proves the name \(names.joined(separator: ", ")) and not \(host): issue one for \(host)")
        }
        // Through intermediate certificates, if the file holds some.
        var last = chain[0]
        for next in chain.dropFirst() where last.isSigned(by: next) { last = next }
        guard let signer = authorities.first(where: { last.isSigned(by: $0) }) else {
            throw CertificateError(
                .content, "\(certificateFile) was not signed by the authority in \(authorityFile): copy the authority that issued it")
        }
        return HostIdentity(
            certificate: summary, authority: try signer.summary, certificateFile: certificateFile, authorityFile: authorityFile)
    }

    /// The certificate whose time is over first, and its file.
    public var first: (summary: CertificateSummary, file: String) {
        authority.notAfter < certificate.notAfter ? (authority, authorityFile) : (certificate, certificateFile)
    }

    /// What is worst about the two certificates now.
    public func validity(at now: Int64) -> CertificateSummary.Validity {
        let states = [certificate.validity(at: now), authority.validity(at: now)]
        return [.expired, .notYetValid, .expiresSoon].first { states.contains($0) } ?? .valid
    }
}

extension CertificateSummary {
    /// What every certificate of a file says.
    public static func read(file path: String) throws(CertificateError) -> [CertificateSummary] {
        var found: [CertificateSummary] = []
        for certificate in try Certificate.readAll(CertificateFiles.read(path), from: path) { found.append(try certificate.summary) }
        return found
    }
}
