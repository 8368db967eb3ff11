internal import COpenSSL
internal import Glibc

/// An X.509 certificate in memory.
final class Certificate {
    let pointer: OpaquePointer

    /// Takes the object over.
    init(owning pointer: OpaquePointer) { self.pointer = pointer }

    deinit { X509_free(pointer) }

    /// Every certificate of a PEM text, in order.
    static func readAll(_ text: [UInt8], from path: String) throws(CertificateError) -> [Certificate] {
        let found = try LibCrypto.reading(text) { stream throws(CertificateError) in
            var found: [Certificate] = []
            while let certificate = PEM_read_bio_X509(stream, nil, { _, _, _, _ in -1 }, nil) {
                found.append(Certificate(owning: certificate))
            }
            // The end of the text is an error to libcrypto.
            ERR_clear_error()
            return found
        }
        guard !found.isEmpty else { throw CertificateError(.content, "\(path) holds no certificate in PEM: name another file") }
        return found
    }

    var pem: [UInt8] {
        get throws(CertificateError) { try LibCrypto.bytes("writing a certificate") { PEM_write_bio_X509($0, pointer) == 1 ? 1 : -1 } }
    }

    /// Whether `key` is the private half of this certificate's key.
    func belongs(to key: PrivateKey) -> Bool {
        defer { ERR_clear_error() }
        return X509_check_private_key(pointer, key.pointer) == 1
    }

    /// Whether `authority` signed this certificate.
    func isSigned(by authority: Certificate) -> Bool {
        defer { ERR_clear_error() }
        guard let key = X509_get0_pubkey(authority.pointer) else { return false }
        return X509_verify(pointer, key) == 1
    }

    var summary: CertificateSummary {
        get throws(CertificateError) {
            CertificateSummary(
                subject: try name(X509_get_subject_name(pointer)), issuer: try name(X509_get_issuer_name(pointer)), names: names,
                isAuthority: X509_check_ca(pointer) >= 1, notBefore: try seconds(X509_get0_notBefore(pointer)),
                notAfter: try seconds(X509_get0_notAfter(pointer)), fingerprint: try fingerprint)
        }
    }

    private func name(_ name: OpaquePointer?) throws(CertificateError) -> String {
        // XN_FLAG_RFC2253, a macro that the importer does not see.
        let style: UInt = 0x111_0317
        let text = try LibCrypto.bytes("reading a name") { X509_NAME_print_ex($0, name, 0, style) }
        return String(decoding: text, as: UTF8.self)
    }

    private func seconds(_ time: UnsafePointer<ASN1_TIME>?) throws(CertificateError) -> Int64 {
        var parts = tm()
        guard ASN1_TIME_to_tm(time, &parts) == 1 else { throw LibCrypto.failure("reading a certificate's dates") }
        return Int64(timegm(&parts))
    }

    private var names: [String] {
        guard let list = X509_get_ext_d2i(pointer, NID_subject_alt_name, nil, nil) else { return [] }
        let stack = OpaquePointer(list)
        defer { GENERAL_NAMES_free(stack) }
        return (0..<OPENSSL_sk_num(stack)).compactMap { index in
            guard let entry = OPENSSL_sk_value(stack, index) else { return nil }
            var type: Int32 = 0
            // SAFETY: the stack holds GENERAL_NAMEs; the value of a DNS entry is an ASN1_STRING that lives as long as the stack.
            let value = GENERAL_NAME_get0_value(entry.assumingMemoryBound(to: GENERAL_NAME.self), &type)
            guard type == GEN_DNS, let value else { return nil }
            let string = UnsafePointer(value.assumingMemoryBound(to: ASN1_STRING.self))
            return String(
                decoding: UnsafeBufferPointer(start: ASN1_STRING_get0_data(string), count: Int(ASN1_STRING_length(string))), as: UTF8.self)
        }
    }

    private var fingerprint: String {
        get throws(CertificateError) {
            var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
            var length: UInt32 = 0
            guard X509_digest(pointer, EVP_sha256(), &digest, &length) == 1 else { throw LibCrypto.failure("a fingerprint") }
            return digest[..<Int(length)].map { ($0 < 16 ? "0" : "") + String($0, radix: 16, uppercase: true) }.joined(separator: ":")
        }
    }
}
