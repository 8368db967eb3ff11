internal import Glibc
internal import LinuxShim
internal import NBD

/// Keeps the guest's writes from waiting for a daemon that stands still as a whole (SIGSTOP, a debugger): `understudy-guard`, a process of its
/// own, cuts the connections to the daemon's NBD server when there was no sign of life for a while.
final class ServerGuard: @unchecked Sendable {
    // SAFETY: the variables belong to whoever made the object; the thread uses `signs` and `lock` only, and `isOver` inside `lock`.
    private let lock = ConditionLock()
    private var isOver = false
    private let signs: CInt
    private let process: pid_t
    private var thread: DedicatedThread?

    /// - Parameters:
    ///   - program: `understudy-guard`.
    ///   - socketPath: of the server, which must be one of this process.
    ///   - patience: nanoseconds without a sign of life.
    init(program: String, socketPath: String, patience: UInt64) throws(HostDaemonError) {
        var ends: [CInt] = [-1, -1]
        guard socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            throw Self.failure(program, errno)
        }
        let words = [program, "\(getpid())", socketPath, "\(max(1, patience / 1_000_000))"]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        let process = understudy_launch_guard(&arguments, ends[1])
        close(ends[1])
        signs = ends[0]
        self.process = process
        guard process > 0 else {
            close(signs)
            throw Self.failure(program, -process)
        }
        thread = try DedicatedThread(name: "disk-guard", urgent: true) { [self] in giveSigns(every: patience / 8) }
    }

    private static func failure(_ program: String, _ error: CInt) -> HostDaemonError {
        HostDaemonError(
            .system,
            "\(program), which watches over the server for the guest's disk writes, cannot be started: \(String(cString: strerror(error)))")
    }

    private func giveSigns(every nanoseconds: UInt64) {
        lock.withLock {
            while !isOver {
                // A guard that takes none any more watches no more; the server works without it.
                _ = send(signs, "+", 1, CInt(MSG_NOSIGNAL) | CInt(MSG_DONTWAIT))
                _ = lock.wait(until: MonotonicClock.now + nanoseconds)
            }
        }
    }

    /// Ends the guard; call once.
    func stop() {
        lock.withLock {
            isOver = true
            lock.announce()
        }
        thread?.join()
        thread = nil
        close(signs)
        var status: CInt = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
    }
}
