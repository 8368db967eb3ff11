import Glibc
import LinuxShim

/// A process held by a pidfd, so that its number cannot come to mean another one unnoticed.
struct ProcessHandle: ~Copyable {
    let pid: Int32
    private let descriptor: Int32

    init(pid: Int32) throws(GuestMemoryError) {
        let descriptor = understudy_memory_pidfd_open(pid)
        guard descriptor >= 0 else {
            throw .failed("opening process \(pid)", -descriptor, code: descriptor == -ESRCH ? .processGone : .system)
        }
        self.pid = pid
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Throws `processGone` when the process has ended. What was read before by number came then from this very process.
    func checkAlive() throws(GuestMemoryError) {
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        var outcome: Int32
        repeat { outcome = poll(&request, 1, 0) } while outcome < 0 && errno == EINTR
        if outcome < 0 { throw .failed("asking whether process \(pid) lives", errno) }
        if outcome > 0 { throw GuestMemoryError(code: .processGone, message: "process \(pid) has ended") }
    }

    /// A duplicate of a descriptor of the process.
    func takeDescriptor(_ number: Int32) throws(GuestMemoryError) -> Int32 {
        let mine = understudy_memory_pidfd_getfd(descriptor, number)
        guard mine >= 0 else {
            throw .failed("fetching descriptor \(number) of process \(pid)", -mine, code: mine == -EPERM ? .notPermitted : .system)
        }
        return mine
    }
}
