internal import COpenSSL

/// What a new certificate shall say, and its signing.
struct CertificateRequest {
    enum Purpose {
        /// Signs hosts' certificates, and nothing below them.
        case authority
        /// Proves a host's name at both ends of a connection.
        case host
    }

    var commonName: String
    var purpose: Purpose
    /// Seconds since 1970.
    var notBefore: Int64
    var notAfter: Int64

    /// A certificate for `key`.
    ///
    /// - Parameter issuer: who signs; nil: the key itself.
    func sign(_ key: PrivateKey, by issuer: (certificate: Certificate, key: PrivateKey)?) throws(CertificateError) -> Certificate {
        guard let pointer = X509_new() else { throw LibCrypto.failure("making a certificate") }
        let certificate = Certificate(owning: pointer)
        try fill(certificate, key, issuer: issuer?.certificate ?? certificate)
        for (kind, value) in extensions { try add(kind, value, to: certificate, issuer: issuer?.certificate ?? certificate) }
        guard X509_sign(pointer, (issuer?.key ?? key).pointer, EVP_sha256()) > 0 else { throw LibCrypto.failure("signing") }
        return certificate
    }

    private func fill(_ certificate: Certificate, _ key: PrivateKey, issuer: Certificate) throws(CertificateError) {
        let pointer = certificate.pointer
        let name = X509_get_subject_name(pointer)
        let utf8: Int32 = 0x1000  // MBSTRING_UTF8
        let text = Array(commonName.utf8)
        guard X509_set_version(pointer, 2) == 1, X509_set_pubkey(pointer, key.pointer) == 1,
            X509_NAME_add_entry_by_txt(name, "CN", utf8, text, Int32(text.count), -1, 0) == 1,
            X509_set_issuer_name(pointer, X509_get_subject_name(issuer.pointer)) == 1,
            ASN1_TIME_set(X509_getm_notBefore(pointer), Int(notBefore)) != nil,
            ASN1_TIME_set(X509_getm_notAfter(pointer), Int(notAfter)) != nil
        else { throw LibCrypto.failure("filling in a certificate") }
        try setSerial(certificate)
    }

    /// 127 random bits: no two certificates of an authority share a number (RFC 5280, 4.1.2.2).
    private func setSerial(_ certificate: Certificate) throws(CertificateError) {
        var bytes = [UInt8](repeating: 0, count: 16)
        guard RAND_bytes(&bytes, Int32(bytes.count)) == 1 else { throw LibCrypto.failure("the random generator") }
        bytes[0] &= 0x7f
        guard let number = BN_bin2bn(bytes, Int32(bytes.count), nil) else { throw LibCrypto.failure("a serial number") }
        defer { BN_free(number) }
        guard BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate.pointer)) != nil else {
            throw LibCrypto.failure("a serial number")
        }
    }

    /// In the order in which they are added: the authority's key identifier refers to the subject's own, which must be there.
    private var extensions: [(Int32, String)] {
        switch purpose {
        case .authority:
            [
                (NID_basic_constraints, "critical,CA:TRUE,pathlen:0"), (NID_key_usage, "critical,keyCertSign,cRLSign"),
                (NID_subject_key_identifier, "hash"),
            ]
        case .host:
            [
                (NID_basic_constraints, "critical,CA:FALSE"), (NID_key_usage, "critical,digitalSignature"),
                (NID_ext_key_usage, "serverAuth,clientAuth"), (NID_subject_alt_name, "DNS:\(commonName)"),
                (NID_subject_key_identifier, "hash"), (NID_authority_key_identifier, "keyid"),
            ]
        }
    }

    private func add(_ kind: Int32, _ value: String, to certificate: Certificate, issuer: Certificate) throws(CertificateError) {
        var context = X509V3_CTX()
        X509V3_set_ctx(&context, issuer.pointer, certificate.pointer, nil, nil, 0)
        guard let addition = X509V3_EXT_conf_nid(nil, &context, kind, value) else { throw LibCrypto.failure("an extension") }
        defer { X509_EXTENSION_free(addition) }
        guard X509_add_ext(certificate.pointer, addition, -1) == 1 else { throw LibCrypto.failure("an extension") }
    }
}
