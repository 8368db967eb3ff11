internal import Glibc

/// The authority that makes hosts: a key and a certificate in one folder, `authority.key` and `authority.pem`.
///
/// Whoever has the key can make a host that others believe: keep it away from the hosts.
public struct CertificateAuthority {
    /// The files of one certificate.
    public struct Files: Sendable, Equatable {
        public var certificate: String
        public var key: String
    }

    /// Where the authority's own two files lie.
    public let files: Files
    private let folder: String
    private let certificate: Certificate
    private let key: PrivateKey

    /// Clocks of two hosts differ: a new certificate is good from an hour ago on.
    private static let backdated: Int64 = 3600

    /// Makes an authority in `folder`, which is made when it is missing.
    ///
    /// - Parameters:
    ///   - name: the common name, 1 to 64 bytes.
    ///   - days: how long it is good.
    ///   - now: seconds since 1970.
    /// - Throws: `.exists` when the folder holds one already.
    public static func create(
        in folder: String, name: String = "Understudy authority", days: Int, now: Int64
    ) throws(CertificateError) -> CertificateAuthority {
        guard (1...64).contains(name.utf8.count) else { throw CertificateError(.badRequest, "an authority's name has 1 to 64 bytes") }
        try demand(days)
        let files = Self.files("authority", in: folder)
        try CertificateFiles.demandAbsent([files.certificate, files.key])
        if mkdir(folder, 0o700) != 0, errno != EEXIST {
            throw CertificateError(.file, "the folder \(folder) cannot be made: \(String(cString: strerror(errno)))")
        }
        let key = try PrivateKey.generate()
        let request = CertificateRequest(
            commonName: name, purpose: .authority, notBefore: now - backdated, notAfter: now + Int64(days) * 86_400)
        let certificate = try request.sign(key, by: nil)
        try Self.write(certificate, key, files)
        return CertificateAuthority(files: files, folder: folder, certificate: certificate, key: key)
    }

    /// Reads the authority that lies in `folder`.
    public static func load(from folder: String) throws(CertificateError) -> CertificateAuthority {
        let files = Self.files("authority", in: folder)
        guard access(files.key, F_OK) == 0 else {
            throw CertificateError(
                .file, "there is no authority's key \(files.key): name its folder with --folder, or make one with `understudy pki init`")
        }
        let certificate = try Certificate.readAll(CertificateFiles.read(files.certificate), from: files.certificate)[0]
        let key = try PrivateKey.read(CertificateFiles.read(files.key), from: files.key)
        guard certificate.belongs(to: key) else {
            throw CertificateError(.content, "\(files.key) is not the key of \(files.certificate): put the right pair into \(folder)")
        }
        return CertificateAuthority(files: files, folder: folder, certificate: certificate, key: key)
    }

    private init(files: Files, folder: String, certificate: Certificate, key: PrivateKey) {
        self.files = files
        self.folder = folder
        self.certificate = certificate
        self.key = key
    }

    /// What its certificate says.
    public var summary: CertificateSummary { get throws(CertificateError) { try certificate.summary } }

    /// Makes a host's key and certificate, `HOST.key` and `HOST.pem` in the authority's folder. It ends with the authority at the latest.
    ///
    /// - Parameter host: the host's name as in its configuration: 1 to 64 letters, digits, `-`, `_` and `.`.
    /// - Throws: `.exists` when the host has files already; `.expired` when the authority's time is over.
    public func issue(_ host: String, days: Int, now: Int64) throws(CertificateError) -> (files: Files, summary: CertificateSummary) {
        guard Self.isName(host), host != "authority" else {
            throw CertificateError(.badRequest, "\"\(host)\" cannot be a host's name: use 1 to 64 letters, digits, `-`, `_` and `.`")
        }
        try Self.demand(days)
        let own = try summary
        guard own.notAfter > now else {
            throw CertificateError(
                .expired, "the authority \(files.certificate) has expired: make a new one in another folder and issue every host anew")
        }
        let files = Self.files(host, in: folder)
        try CertificateFiles.demandAbsent([files.certificate, files.key])
        let key = try PrivateKey.generate()
        let request = CertificateRequest(
            commonName: host, purpose: .host, notBefore: max(now - Self.backdated, own.notBefore),
            notAfter: min(now + Int64(days) * 86_400, own.notAfter))
        let certificate = try request.sign(key, by: (self.certificate, self.key))
        try Self.write(certificate, key, files)
        return (files, try certificate.summary)
    }

    private static func files(_ name: String, in folder: String) -> Files {
        Files(certificate: "\(folder)/\(name).pem", key: "\(folder)/\(name).key")
    }

    private static func demand(_ days: Int) throws(CertificateError) {
        guard (1...36_500).contains(days) else {
            throw CertificateError(.badRequest, "--days \(days): a certificate is good for 1 to 36500 days")
        }
    }

    private static func isName(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count) && text.first != "." && text.first != "-"
            && text.utf8.allSatisfy { character in
                switch character {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                    UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                    true
                default: false
                }
            }
    }

    private static func write(_ certificate: Certificate, _ key: PrivateKey, _ files: Files) throws(CertificateError) {
        try CertificateFiles.write(key.pem, to: files.key, mode: 0o600)
        do throws(CertificateError) {
            try CertificateFiles.write(certificate.pem, to: files.certificate, mode: 0o644)
        } catch {
            CertificateFiles.remove(files.key)
            throw error
        }
    }
}
