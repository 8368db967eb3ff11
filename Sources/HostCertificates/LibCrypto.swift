internal import COpenSSL

/// What libcrypto's certificates and keys share: its error queue and its memory streams.
enum LibCrypto {
    /// The oldest entry of libcrypto's error queue of this thread, as an error that names what was tried.
    static func failure(_ what: String) -> CertificateError {
        var text = [CChar](repeating: 0, count: 256)
        let code = ERR_get_error()
        if code != 0 { ERR_error_string_n(code, &text, text.count) }
        ERR_clear_error()
        let reason = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return CertificateError(.system, "libcrypto failed in \(what) (\(reason)): check the installation of OpenSSL 3")
    }

    /// What `write` puts into a memory stream; a negative number from it means failure.
    static func bytes(_ what: String, _ write: (OpaquePointer) -> Int32) throws(CertificateError) -> [UInt8] {
        guard let stream = BIO_new(BIO_s_mem()) else { throw failure(what) }
        defer { BIO_free_all(stream) }
        guard write(stream) >= 0 else { throw failure(what) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = BIO_read(stream, &chunk, Int32(chunk.count))
            guard count > 0 else { break }
            bytes += chunk[..<Int(count)]
        }
        OPENSSL_cleanse(&chunk, chunk.count)
        guard !bytes.isEmpty else { throw failure(what) }
        return bytes
    }

    /// Lets `read` read the bytes as a stream.
    static func reading<Value>(_ bytes: [UInt8], _ read: (OpaquePointer) throws(CertificateError) -> Value) throws(CertificateError)
        -> Value
    {
        guard let stream = BIO_new(BIO_s_mem()), BIO_write(stream, bytes, Int32(bytes.count)) == bytes.count else {
            throw failure("reading PEM")
        }
        defer { BIO_free_all(stream) }
        return try read(stream)
    }
}
