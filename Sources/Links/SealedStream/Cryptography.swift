// SPDX-License-Identifier: Apache-2.0

import COpenSSL

/// Random bytes and key derivation of libcrypto.
enum Cryptography {
    static func randomBytes(_ count: Int) throws(LinkError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        guard RAND_bytes(&bytes, Int32(count)) == 1 else { throw failure("the random generator") }
        return bytes
    }

    /// HKDF-SHA256 of RFC 5869, extract and expand.
    static func hkdf(key: [UInt8], salt: [UInt8], info: [UInt8], count: Int) throws(LinkError) -> [UInt8] {
        guard let algorithm = EVP_KDF_fetch(nil, "HKDF", nil) else { throw failure("HKDF") }
        defer { EVP_KDF_free(algorithm) }
        guard let context = EVP_KDF_CTX_new(algorithm) else { throw failure("HKDF") }
        defer { EVP_KDF_CTX_free(context) }
        var (key, salt, info) = (key, salt, info)
        var digest = Array("SHA256".utf8CString)
        var output = [UInt8](repeating: 0, count: count)
        // SAFETY: the parameters point into the five arrays, which live until the closures end.
        let result = key.withUnsafeMutableBytes { key in
            salt.withUnsafeMutableBytes { salt in
                info.withUnsafeMutableBytes { info in
                    digest.withUnsafeMutableBufferPointer { digest in
                        var parameters = [
                            OSSL_PARAM_construct_utf8_string("digest", digest.baseAddress, 0),
                            OSSL_PARAM_construct_octet_string("key", key.baseAddress, key.count),
                            OSSL_PARAM_construct_octet_string("salt", salt.baseAddress, salt.count),
                            OSSL_PARAM_construct_octet_string("info", info.baseAddress, info.count),
                            OSSL_PARAM_construct_end(),
                        ]
                        return EVP_KDF_derive(context, &output, count, &parameters)
                    }
                }
            }
        }
        key.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) }
        guard result == 1 else { throw failure("HKDF") }
        return output
    }

    /// The oldest entry of libcrypto's error queue of this thread, as a link error.
    static func failure(_ what: String) -> LinkError {
        let code = ERR_get_error()
        ERR_clear_error()
        return LinkError(.system, "libcrypto failed in \(what) (error \(String(code, radix: 16))); check the installation of OpenSSL 3")
    }
}
