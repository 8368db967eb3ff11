internal import Glibc

/// Reading and writing the files of an authority; nothing that is there is ever overwritten.
enum CertificateFiles {
    /// The largest file that is read, in bytes.
    private static let limit = 1 << 20

    static func read(_ path: String) throws(CertificateError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failed("cannot be read", path, errno) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw failed("cannot be read", path, errno) }
            if count == 0 { return bytes }
            bytes += chunk[..<count]
            guard bytes.count <= limit else { throw CertificateError(.content, "\(path) is too large for a certificate or key") }
        }
    }

    /// Refuses when one of the files is there, before any is made.
    static func demandAbsent(_ paths: [String]) throws(CertificateError) {
        for path in paths where access(path, F_OK) == 0 {
            throw CertificateError(
                .exists, "\(path) is there already and is not overwritten: move it away first, or name another --folder")
        }
    }

    /// Writes a new file that is never readable for anybody beyond `mode`.
    static func write(_ bytes: [UInt8], to path: String, mode: mode_t) throws(CertificateError) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            guard errno == EEXIST else { throw failed("cannot be made", path, errno) }
            throw CertificateError(.exists, "\(path) is there already and is not overwritten: move it away first")
        }
        defer { close(descriptor) }
        var written = 0
        while written < bytes.count {
            // SAFETY: the slice lies inside the array, which lives for the whole call.
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + written, $0.count - written) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw undone("cannot be written", path, errno) }
            written += count
        }
        guard fchmod(descriptor, mode) == 0, fsync(descriptor) == 0 else { throw undone("cannot be written", path, errno) }
    }

    static func remove(_ path: String) { unlink(path) }

    /// A half-written file would be taken for a whole one later.
    private static func undone(_ what: String, _ path: String, _ number: Int32) -> CertificateError {
        unlink(path)
        return failed(what, path, number)
    }

    private static func failed(_ what: String, _ path: String, _ number: Int32) -> CertificateError {
        CertificateError(.file, "\(path) \(what): \(String(cString: strerror(number)))")
    }
}
