import Foundation
import Glibc
import QMP

/// A QEMU in a folder of its own; both go with this object, and QEMU with the test process.
final class ExactnessProcess {
    let folder: String
    private let pid: pid_t
    private var isReaped = false

    init(_ guest: ExactnessGuest) throws {
        var template = Array("/tmp/understudy-exactness-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SurvivalFailure("mkdtemp failed") }
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let arguments = ["/usr/bin/setpriv", "--pdeathsig", "KILL"] + guest.arguments(in: folder)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_addopen(&actions, 2, "\(folder)/primary.log", O_WRONLY | O_CREAT, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 2, 1)
        var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        var child: pid_t = 0
        let result = posix_spawn(&child, arguments[0], &actions, nil, &pointers, environ)
        pointers.forEach { free($0) }
        posix_spawn_file_actions_destroy(&actions)
        guard result == 0 else {
            try? FileManager.default.removeItem(atPath: folder)
            throw SurvivalFailure("QEMU does not start: \(String(cString: strerror(result)))")
        }
        pid = child
    }

    deinit { end() }

    /// Ends QEMU at once and waits for it; removes the folder unless it is still needed.
    func end(keepingFolder: Bool = false) {
        if !isReaped {
            kill(pid, SIGKILL)
            var status: CInt = 0
            waitpid(pid, &status, 0)
            isReaped = true
        }
        if !keepingFolder { try? FileManager.default.removeItem(atPath: folder) }
    }

    /// Connects as soon as QEMU listens.
    func connect() throws -> QMPClient {
        let end = ContinuousClock.now + .seconds(60)
        while true {
            do throws(QMPError) {
                return try QMPClient(socketPath: "\(folder)/primary.qmp", greetingTimeout: .seconds(30))
            } catch {
                guard error.code == .connectFailed, ContinuousClock.now < end, isRunning else {
                    throw SurvivalFailure("\(error) \(text("primary.log"))")
                }
                usleep(10_000)
            }
        }
    }

    private var isRunning: Bool {
        var status: CInt = 0
        guard waitpid(pid, &status, WNOHANG) == pid else { return true }
        isReaped = true
        return false
    }

    func text(_ file: String) -> String {
        (try? String(decoding: Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(file)")), as: UTF8.self)) ?? ""
    }

    /// The end of what QEMU and both guests wrote.
    private var lastWords: String {
        ["primary.log", "serial", "standby.serial"].map { "\($0): \(text($0).suffix(600).debugDescription)" }.joined(separator: ", ")
    }

    func wait(for mark: String, in file: String) throws { try wait("\"\(mark)\" in \(file)") { text(file).contains(mark) } }

    func wait(_ what: String, seconds: Int = 180, until condition: () -> Bool) throws {
        let end = ContinuousClock.now + .seconds(seconds)
        while !condition() {
            guard isReaped || isRunning else { throw SurvivalFailure("QEMU ended before \(what): \(lastWords)") }
            guard ContinuousClock.now < end else { throw SurvivalFailure("waited \(seconds) s in vain for \(what): \(lastWords)") }
            usleep(10_000)
        }
    }
}
