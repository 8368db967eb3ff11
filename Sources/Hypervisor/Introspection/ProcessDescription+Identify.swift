import Glibc
internal import QMP

extension ProcessDescription {
    /// The process behind a monitor.
    ///
    /// The socket names the process that listens (SO_PEERCRED), which is QEMU even when a manager made the socket and passed it on, since
    /// QEMU calls listen(2) again. Behind a proxy the process that owns the vCPU threads is meant.
    static func identify(behind qmp: QMPClient) throws(HypervisorError) -> ProcessDescription {
        let (peer, answer) = try monitor { () throws(QMPError) in (try qmp.peerCredentials(), try qmp.execute("query-cpus-fast")) }
        return try identify(peer: peer.processID, threads: (answer.array ?? []).compactMap { $0["thread-id"]?.int })
    }

    /// The peer or else the owner of the first thread, whichever owns every vCPU thread that QEMU reports.
    static func identify(peer: Int32, threads: [Int]) throws(HypervisorError) -> ProcessDescription {
        guard let first = threads.first else { throw HypervisorError(.processNotFound, "QEMU reports no vCPU thread") }
        if peer > 0, owns(Int(peer), threads) { return try ProcessDescription(readingProcess: peer) }
        if let status = try? ProcessStatus(id: first), owns(status.threadGroup, threads) {
            let process = try ProcessDescription(readingProcess: Int32(status.threadGroup))
            // In another process namespace the same numbers mean other threads.
            if process.executable.contains("qemu") || process.executable.contains("kvm") { return process }
        }
        throw HypervisorError(
            .processNotFound,
            "no process with QEMU's vCPU threads \(threads) is visible here: run the daemon in QEMU's process namespace, as root")
    }

    private static func owns(_ process: Int, _ threads: [Int]) -> Bool {
        threads.allSatisfy { access("/proc/\(process)/task/\($0)", F_OK) == 0 }
    }

    init(readingProcess id: Int32) throws(HypervisorError) {
        let folder = "/proc/\(id)"
        let status = try ProcessStatus(id: Int(id))
        let executable = try ProcessFile.link("\(folder)/exe")
        self.init(
            id: id, startTime: try Self.startTime(in: try ProcessFile.text("\(folder)/stat"), id: id),
            executable: executable.hasSuffix(" (deleted)") ? String(executable.dropLast(10)) : executable,
            arguments: try ProcessFile.bytes("\(folder)/cmdline").split(separator: 0, omittingEmptySubsequences: false).dropLast().map {
                String(decoding: $0, as: UTF8.self)
            },
            workingDirectory: try ProcessFile.link("\(folder)/cwd"), userID: status.fileUser, groupID: status.fileGroup)
    }

    /// Field 22 of stat. The name in field 2 may hold spaces and brackets: fields are counted from its last bracket.
    static func startTime(in stat: String, id: Int32) throws(HypervisorError) -> UInt64 {
        guard let bracket = stat.lastIndex(of: ")") else { throw HypervisorError(.unknownAnswer, "/proc/\(id)/stat has an unknown form") }
        let fields = stat[stat.index(after: bracket)...].split(separator: " ")
        guard fields.count > 19, let time = UInt64(fields[19]) else {
            throw HypervisorError(.unknownAnswer, "/proc/\(id)/stat has an unknown form")
        }
        return time
    }
}
