public import Glibc
import Synchronization

/// A process that the laboratory started and must not leave behind.
public final class LabProcess: Sendable {
    /// The program's name, for messages.
    public let name: String
    public let pid: pid_t
    /// The file that holds its output.
    public let log: String
    private let status = Mutex<Int32?>(nil)

    init(name: String, pid: pid_t, log: String) {
        self.name = name
        self.pid = pid
        self.log = log
    }

    /// Whether it still runs. Reaps it when it has ended.
    public var isRunning: Bool { reap(options: WNOHANG) == nil }

    /// Sends a signal, unless the process has ended and its identifier may be another's.
    public func signal(_ number: Int32) {
        status.withLock { if $0 == nil { kill(pid, number) } }
    }

    /// Waits up to `milliseconds` for the end; the wait status of waitpid(2), or nil when it still runs.
    public func wait(milliseconds: UInt64) -> Int32? {
        let deadline = MonotonicTime.now() + milliseconds * 1_000_000
        repeat {
            if let ended = reap(options: WNOHANG) { return ended }
            MonotonicTime.sleep(milliseconds: 2)
        } while MonotonicTime.now() < deadline
        return reap(options: WNOHANG)
    }

    /// Ends it with SIGTERM, after `grace` milliseconds with SIGKILL, and reaps it.
    public func end(grace: UInt64 = 0) {
        if grace > 0 {
            signal(SIGTERM)
            if wait(milliseconds: grace) != nil { return }
        }
        signal(SIGKILL)
        _ = wait(milliseconds: 5000)
    }

    private func reap(options: Int32) -> Int32? {
        status.withLock { ended in
            if ended != nil { return ended }
            var value: Int32 = 0
            let result = waitpid(pid, &value, options)
            if result == pid { ended = value }
            // Somebody else reaped it: it is gone all the same.
            if result == -1, errno == ECHILD { ended = -1 }
            return ended
        }
    }
}
