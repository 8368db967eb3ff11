import Glibc
import LinuxShim
import Synchronization

/// A process that this one started, in a session of its own: it is not ended with its parent.
///
/// Any thread may use it.
public final class ChildProcess: Sendable {
    public let pid: Int32
    /// Readable once the process has ended; closed with this object.
    public let pidfd: Int32

    private let exit = Mutex<StandbyProcess.Exit?>(nil)

    /// Starts `argv[0]` with standard input from /dev/null and both outputs appended to `log`; no other descriptor is inherited.
    public init(argv: [String], log: String) throws(HypervisorError) {
        pid = try Self.spawn(argv, log: log)
        pidfd = understudy_pidfd_open(pid)
        if pidfd < 0 {
            // Still our unreaped child, so the number cannot be another process's.
            _ = Glibc.kill(pid, SIGKILL)
            _ = waitpid(pid, nil, 0)
            throw HypervisorError(.systemCall, "no pidfd for the new QEMU: \(Self.text(-pidfd))")
        }
    }

    deinit { close(pidfd) }

    /// How the process ended; nil while it runs. Reaps it.
    public var exitStatus: StandbyProcess.Exit? {
        exit.withLock { exit in
            if exit != nil { return exit }
            var status: Int32 = 0
            let result = waitpid(pid, &status, WNOHANG)
            if result == pid {
                let signal = status & 0x7f
                exit = signal == 0 ? .status((status >> 8) & 0xff) : .signal(signal)
            } else if result < 0, errno == ECHILD {
                // Somebody else reaped it, or the parent ignores SIGCHLD: how it ended is lost.
                exit = .status(-1)
            }
            return exit
        }
    }

    /// Waits until the process has ended; nil when it still runs at the deadline.
    public func waitForExit(until deadline: ContinuousClock.Instant) -> StandbyProcess.Exit? {
        while true {
            if let status = exitStatus { return status }
            let left = ContinuousClock.now.duration(to: deadline)
            if left <= .zero { return nil }
            var poller = pollfd(fd: pidfd, events: Int16(POLLIN), revents: 0)
            _ = poll(&poller, 1, left.pollMilliseconds)
        }
    }

    /// Ends the process with SIGKILL and reaps it. Returns without having reaped it only if the kernel holds it for seconds.
    public func kill() {
        if exitStatus != nil { return }
        _ = understudy_pidfd_send_signal(pidfd, SIGKILL)
        _ = waitForExit(until: .now + .seconds(5))
    }

    private static func spawn(_ argv: [String], log: String) throws(HypervisorError) -> Int32 {
        // SAFETY: the copies live until the call has returned and are freed exactly once; the list ends with a null pointer.
        var words: [UnsafeMutablePointer<CChar>?] = argv.map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        let result = understudy_launch(&words, log)
        guard result > 0 else {
            throw HypervisorError(.launchFailed, "\(argv.first ?? "QEMU") could not be started (output to \(log)): \(text(-result))")
        }
        return result
    }

    static func text(_ number: Int32) -> String { String(cString: strerror(number)) }
}

extension Duration {
    /// For poll(2): rounded up, so that a wait does not end early; between 0 and an hour.
    var pollMilliseconds: Int32 {
        let (seconds, attoseconds) = components
        if seconds >= 3600 { return 3_600_000 }
        if seconds < 0 { return 0 }
        return Int32(seconds) * 1000 + Int32((attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
    }
}
