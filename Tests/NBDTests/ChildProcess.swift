import Glibc

/// A program that runs beside a test and is killed with it.
final class ChildProcess: @unchecked Sendable {
    // SAFETY: one test uses it on one thread.
    let identifier: pid_t
    private var isReaped = false

    init(_ arguments: [String]) throws {
        // setpriv ends it when this process is killed; SIGTERM may be blocked here.
        let all = ["/usr/bin/setpriv", "--pdeathsig", "KILL"] + arguments
        var child: pid_t = 0
        var pointers: [UnsafeMutablePointer<CChar>?] = all.map { strdup($0) } + [nil]
        defer { pointers.forEach { free($0) } }
        let result = posix_spawn(&child, all[0], nil, nil, &pointers, environ)
        guard result == 0 else { throw TestFailure("cannot start \(arguments): \(result)") }
        identifier = child
    }

    func kill() {
        guard !isReaped else { return }
        Glibc.kill(identifier, SIGKILL)
        var status: CInt = 0
        waitpid(identifier, &status, 0)
        isReaped = true
    }

    deinit { kill() }
}
