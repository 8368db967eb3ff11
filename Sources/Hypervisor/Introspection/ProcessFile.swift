import Glibc

/// Reads what the kernel tells about processes.
enum ProcessFile {
    /// The whole content of a file whose size is not known beforehand.
    static func bytes(_ path: String) throws(HypervisorError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("opening", path) }
        defer { close(descriptor) }
        var content: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = read(descriptor, &chunk, chunk.count)
            if count == 0 { return content }
            if count > 0 { content.append(contentsOf: chunk[..<count]) }
            if count < 0 && errno != EINTR { throw failure("reading", path) }
        }
    }

    static func text(_ path: String) throws(HypervisorError) -> String { String(decoding: try bytes(path), as: UTF8.self) }

    /// Where a symbolic link points.
    static func link(_ path: String) throws(HypervisorError) -> String {
        var target = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = readlink(path, &target, target.count)
        guard count >= 0 else { throw failure("reading the link", path) }
        return String(decoding: target[..<count], as: UTF8.self)
    }

    /// The names in a folder, without `.` and `..`.
    static func names(in path: String) throws(HypervisorError) -> [String] {
        guard let folder = opendir(path) else { throw failure("listing", path) }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { field in
                // SAFETY: readdir ends the name with a zero byte inside the field.
                field.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: field.pointee)) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }

    static func failure(_ what: String, _ path: String) -> HypervisorError {
        let hint = errno == EACCES || errno == EPERM ? "; run the daemon as root" : ""
        return HypervisorError(.systemCall, "\(what) \(path) failed: \(String(cString: strerror(errno)))\(hint)")
    }
}

/// What `/proc/ID/status` says of a process or thread.
struct ProcessStatus {
    var threadGroup: Int
    var fileUser: UInt32
    var fileGroup: UInt32
    var effectiveCapabilities: UInt64

    init(id: Int) throws(HypervisorError) { try self.init(parsing: try ProcessFile.text("/proc/\(id)/status")) }

    init(parsing text: String) throws(HypervisorError) {
        var fields: [Substring: [Substring]] = [:]
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2 { fields[parts[0]] = parts[1].split(whereSeparator: \.isWhitespace) }
        }
        // Of the four ids (real, effective, saved, file system) the last one counts when a file is opened.
        guard let group = fields["Tgid"]?.first.flatMap({ Int($0) }), let user = fields["Uid"]?.last.flatMap({ UInt32($0) }),
            let fileGroup = fields["Gid"]?.last.flatMap({ UInt32($0) }),
            let capabilities = fields["CapEff"]?.first.flatMap({ UInt64($0, radix: 16) })
        else { throw HypervisorError(.unknownAnswer, "a status file in /proc has an unknown form") }
        threadGroup = group
        fileUser = user
        self.fileGroup = fileGroup
        effectiveCapabilities = capabilities
    }
}
