import Glibc
import LinuxShim

@testable import Hypervisor
@testable import QMP

/// A small QEMU for one test: it runs the firmware and looks for something to boot.
///
/// It ends with the test, also when the test throws; `PR_SET_PDEATHSIG` ends it with the test process.
final class TestMachine: @unchecked Sendable {
    // SAFETY: one test uses one machine on one thread.
    /// Another QEMU than the distribution's can be tested by naming it (or a script that executes it) in this variable.
    static let emulator = getenv("UNDERSTUDY_TEST_QEMU").map { String(cString: $0) } ?? "/usr/bin/qemu-system-x86_64"
    static var isAvailable: Bool { access(emulator, X_OK) == 0 && geteuid() == 0 }

    /// How this QEMU is told to become another user: `-runas` went away with QEMU 10.
    static let becomeNobody: [String] = {
        guard let help = popen("\(emulator) -help | grep -q '^-runas'", "r") else { return [] }
        return pclose(help) == 0 ? ["-runas", "nobody"] : ["-run-with", "user=nobody"]
    }()

    let folder: String
    let process: pid_t
    private var isReaped = false

    var socket: String { "\(folder)/qmp" }

    init(_ more: [String] = [], memory: String = "64", machine: String = "q35", prefix: [String] = []) throws {
        var template = Array("/tmp/understudy-hypervisor.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestFailure("mkdtemp failed") }
        let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        self.folder = folder
        chmod(folder, 0o777)
        let arguments =
            prefix + [
                Self.emulator, "-accel", "tcg", "-machine", machine, "-m", memory, "-nodefaults", "-display", "none", "-qmp",
                "unix:\(folder)/qmp,server=on,wait=off",
            ] + more
        // setpriv ends the machine when this process is killed.
        let all = ["/usr/bin/setpriv", "--pdeathsig", "KILL"] + arguments
        var child: pid_t = 0
        var pointers: [UnsafeMutablePointer<CChar>?] = all.map { strdup($0) } + [nil]
        defer { pointers.forEach { free($0) } }
        let result = posix_spawn(&child, all[0], nil, nil, &pointers, environ)
        guard result == 0 else { throw TestFailure("posix_spawn failed: \(result)") }
        process = child
    }

    deinit {
        kill()
        for name in (try? ProcessFile.names(in: folder)) ?? [] { unlink("\(folder)/\(name)") }
        rmdir(folder)
    }

    func kill() {
        guard !isReaped else { return }
        Glibc.kill(process, SIGKILL)
        Glibc.kill(process, SIGCONT)
        var status: CInt = 0
        waitpid(process, &status, 0)
        isReaped = true
    }

    func signal(_ number: CInt) { Glibc.kill(process, number) }

    /// Connects as soon as QEMU listens.
    func connect(_ path: String? = nil) throws -> QMPClient {
        let end = ContinuousClock.now.advanced(by: .seconds(120))
        while true {
            do throws(QMPError) {
                return try QMPClient(socketPath: path ?? socket, greetingTimeout: .seconds(120))
            } catch {
                guard error.code == .connectFailed, ContinuousClock.now < end else { throw error }
                usleep(20_000)
            }
        }
    }
}

struct TestFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}
