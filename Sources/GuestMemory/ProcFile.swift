import Glibc

/// Files of procfs.
enum ProcFile {
    static func open(_ path: String) throws(GuestMemoryError) -> Int32 {
        let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .failed("opening \(path)", errno, code: errno == ENOENT ? .processGone : nil) }
        return descriptor
    }

    static func read(_ path: String) throws(GuestMemoryError) -> String {
        let descriptor = try open(path)
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            // SAFETY: the array is owned here and as long as its count.
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .failed("reading \(path)", errno) }
            if count == 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(contentsOf: chunk[0..<count])
        }
    }

    /// The open descriptors of a process and what they lead to.
    static func descriptors(of pid: Int32) throws(GuestMemoryError) -> [(number: Int32, target: String)] {
        let path = "/proc/\(pid)/fd"
        guard let folder = opendir(path) else { throw .failed("opening \(path)", errno, code: errno == ENOENT ? .processGone : nil) }
        defer { closedir(folder) }
        var found: [(number: Int32, target: String)] = []
        var buffer = [CChar](repeating: 0, count: 4096)
        while let entry = readdir(folder) {
            // SAFETY: readdir gives a zero-terminated name of at most 255 bytes that stays valid until the next call.
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard let number = Int32(name) else { continue }
            let length = readlink("\(path)/\(name)", &buffer, buffer.count)
            // A descriptor closed since the listing is no failure: it is simply not there.
            guard length > 0 else { continue }
            found.append((number, String(decoding: buffer[0..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)))
        }
        return found
    }
}
