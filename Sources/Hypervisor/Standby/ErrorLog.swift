import Glibc

/// The end of the file that collects a QEMU's error output.
enum ErrorLog {
    /// At most the last `limit` bytes of the file at `path`; empty when it cannot be read.
    static func tail(of path: String, limit: Int = 2048) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        let size = lseek(descriptor, 0, SEEK_END)
        var bytes = [UInt8](repeating: 0, count: limit)
        let count = pread(descriptor, &bytes, limit, max(0, size - off_t(limit)))
        guard count > 0 else { return "" }
        var text = Substring(String(decoding: bytes[..<count], as: UTF8.self))
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return String(text)
    }
}
