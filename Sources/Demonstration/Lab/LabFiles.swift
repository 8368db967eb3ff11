import Glibc

/// Small files of the laboratory: logs, lists, settings.
enum LabFiles {
    /// The file's content; empty when it does not exist or cannot be read, as a log that nobody has written yet.
    static func content(of path: String) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        var bytes = [UInt8]()
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count <= 0 { return bytes }
            bytes.append(contentsOf: buffer[..<count])
        }
    }

    static func text(of path: String) -> String { String(decoding: content(of: path), as: UTF8.self) }

    /// Whether a text stands in a file that somebody is still writing.
    static func contains(_ text: String, in path: String) -> Bool { LabFiles.text(of: path).contains(text) }

    /// The last lines, for error messages.
    static func tail(of path: String) -> String {
        let lines = text(of: path).split(separator: "\n").suffix(5)
        return lines.isEmpty ? "no output" : lines.joined(separator: " | ")
    }

    /// Writes a whole file, or a setting under /proc/sys.
    static func write(_ text: String, to path: String) throws(DemonstrationError) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw LabSystem.failure(.file, "cannot open \(path)") }
        defer { close(descriptor) }
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { throw LabSystem.failure(.file, "cannot write \(path)") }
            bytes = bytes.dropFirst(count)
        }
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    static func remove(_ path: String) throws(DemonstrationError) {
        guard unlink(path) == 0 else { throw LabSystem.failure(.file, "cannot remove \(path)") }
    }

    /// For what may not be there; who writes a file of that name next hears of whatever else stands in the way.
    static func removeIfThere(_ path: String) { unlink(path) }

    /// Makes a folder and its parents.
    static func makeFolder(_ path: String) throws(DemonstrationError) {
        var made = path.hasPrefix("/") ? "" : "."
        for part in path.split(separator: "/") {
            made += "/\(part)"
            guard mkdir(made, 0o755) == 0 || errno == EEXIST else { throw LabSystem.failure(.file, "cannot make the folder \(made)") }
        }
    }

    /// The names in a folder, without `.` and `..`.
    static func names(in folder: String) throws(DemonstrationError) -> [String] {
        guard let stream = opendir(folder) else { throw LabSystem.failure(.file, "cannot read the folder \(folder)") }
        defer { closedir(stream) }
        var names = [String]()
        while let entry = readdir(stream) {
            // SAFETY: d_name is a NUL-terminated array inside the entry, which stays valid until the next readdir of this stream.
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }
}
