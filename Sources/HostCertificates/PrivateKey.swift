internal import COpenSSL

/// A private key on the curve P-256.
final class PrivateKey {
    let pointer: OpaquePointer

    private init(_ pointer: OpaquePointer) { self.pointer = pointer }

    deinit { EVP_PKEY_free(pointer) }

    /// A new key of libcrypto's random generator.
    static func generate() throws(CertificateError) -> PrivateKey {
        guard let context = EVP_PKEY_CTX_new_from_name(nil, "EC", nil) else { throw LibCrypto.failure("making a key") }
        defer { EVP_PKEY_CTX_free(context) }
        var key: OpaquePointer?
        guard EVP_PKEY_keygen_init(context) == 1, EVP_PKEY_CTX_set_group_name(context, "P-256") == 1,
            EVP_PKEY_generate(context, &key) == 1, let key
        else { throw LibCrypto.failure("making a key") }
        return PrivateKey(key)
    }

    /// The first key of a PEM text; one behind a passphrase is refused, since a daemon has nobody to ask.
    static func read(_ text: [UInt8], from path: String) throws(CertificateError) -> PrivateKey {
        try LibCrypto.reading(text) { stream throws(CertificateError) in
            guard let key = PEM_read_bio_PrivateKey(stream, nil, { _, _, _, _ in -1 }, nil) else {
                ERR_clear_error()
                throw CertificateError(.content, "\(path) holds no private key in PEM, or one behind a passphrase: name another file")
            }
            return PrivateKey(key)
        }
    }

    /// PKCS #8 in PEM, without a passphrase.
    var pem: [UInt8] {
        get throws(CertificateError) {
            try LibCrypto.bytes("writing a key") { PEM_write_bio_PKCS8PrivateKey($0, pointer, nil, nil, 0, nil, nil) == 1 ? 1 : -1 }
        }
    }
}
