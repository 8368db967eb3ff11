import Glibc
import LinuxShim
internal import QMP

/// The anonymous pipe of a save gate, and QEMU's name for its write end.
final class GatePipe {
    /// Capacity until the cut: one page, so that QEMU blocks on its first write.
    static let narrow = 4096
    /// Capacity while draining.
    static let wide = 256 << 10

    let readEnd: CInt
    /// What QEMU opens for each save. An anonymous pipe's reopening never waits for a reader.
    let path: String
    /// Marks the write ends inside QEMU that are gates, so that a later gate finds and removes those of aborted saves and dead daemons.
    private static let mark = "understudy save gate"

    init(qmp: QMPClient, owner: (user: UInt32, group: UInt32), timeout: Duration) throws(HypervisorError) {
        try Self.removeEarlierGates(qmp: qmp, timeout: timeout)
        var ends: (read: CInt, write: CInt) = (-1, -1)
        try Self.check(understudy_make_pipe(&ends.read, &ends.write), "making a pipe")
        defer { close(ends.write) }
        do throws(HypervisorError) {
            try Self.check(understudy_set_pipe_capacity(ends.read, CInt(Self.narrow)), "setting the capacity of a pipe")
            // QEMU reopens the pipe by its path, which checks the owner of the pipe, not who holds the descriptor.
            try Self.check(fchown(ends.write, owner.user, owner.group) < 0 ? -errno : 0, "giving a pipe to QEMU's user \(owner.user)")
            let answer = try monitor { () throws(QMPError) in
                try qmp.execute("add-fd", arguments: ["opaque": .string(Self.mark)], passing: ends.write, timeout: timeout)
            }
            guard let number = answer["fd"]?.int else {
                throw HypervisorError(.monitorFailed, "QEMU's answer to add-fd names no descriptor")
            }
            path = "/proc/self/fd/\(number)"
        } catch {
            close(ends.read)
            throw error
        }
        readEnd = Self.raised(ends.read)
    }

    /// Moves the descriptor to a high number, so that it is the first that the kernel closes when this process is killed.
    ///
    /// QEMU stays stopped until the read end is gone. The kernel releases a dead process's files from the highest number down (`close_files`
    /// queues them, `task_work_run` takes the last one first), and the relay's taps need 30 to 90 ms each to be released.
    private static func raised(_ descriptor: CInt) -> CInt {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return descriptor }
        let high = fcntl(descriptor, F_DUPFD_CLOEXEC, CInt(min(limit.rlim_cur / 2, 4096)))
        // Without a free number up there everything works, only a guest is let go later.
        guard high >= 0 else { return descriptor }
        close(descriptor)
        return high
    }

    deinit { close(readEnd) }

    /// Done before a new descriptor is added, since QEMU reuses the numbers of removed sets.
    private static func removeEarlierGates(qmp: QMPClient, timeout: Duration) throws(HypervisorError) {
        let sets = try monitor { () throws(QMPError) in try qmp.execute("query-fdsets", timeout: timeout) }
        for set in sets.array ?? [] {
            guard let number = set["fdset-id"], set["fds"]?.array?.contains(where: { $0["opaque"]?.string == mark }) == true else {
                continue
            }
            try monitor { () throws(QMPError) in _ = try qmp.execute("remove-fd", arguments: ["fdset-id": number], timeout: timeout) }
        }
    }

    /// How much is readable now, in bytes.
    func bytesWaiting() throws(HypervisorError) -> Int {
        Int(try Self.check(understudy_bytes_waiting(readEnd), "looking into the save gate"))
    }

    /// Sets the capacity; the pipe keeps the old one when the kernel refuses (limits of an unprivileged user, data in it).
    /// Only speed depends on it, except for the narrow capacity of a new pipe, which `init` insists on.
    func resize(to bytes: Int) { _ = understudy_set_pipe_capacity(readEnd, CInt(bytes)) }

    /// Reads without waiting; nil when nothing is there.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(HypervisorError) -> Int? {
        while true {
            let count = Glibc.read(readEnd, buffer.baseAddress, buffer.count)
            if count > 0 { return count }
            // End of file: QEMU gave up its write end, which it does only when it ends or was told to.
            if count == 0 || errno == EAGAIN { return nil }
            if errno != EINTR { throw HypervisorError(.systemCall, "reading the save gate: \(String(cString: strerror(errno)))") }
        }
    }

    @discardableResult
    private static func check(_ result: CInt, _ what: String) throws(HypervisorError) -> CInt {
        guard result >= 0 else { throw HypervisorError(.systemCall, "\(what) failed: \(String(cString: strerror(-result)))") }
        return result
    }
}
