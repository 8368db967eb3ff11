import Foundation
import Glibc
import HostAPI
import Links

@testable import Demonstration

/// One `understudyd` named alpha with real certificates, its peer beta (whom the test may play) and a folder as arbiter.
///
/// It ends with this object, or with the test process.
final class RunningDaemon {
    let folder: String
    let authority: LabAuthority
    let socket: String
    let control: UInt16
    let checkpoint: UInt16
    let process: LabProcess

    static var isPossible: Bool { getuid() == 0 && Programs.areBuilt && FileManager.default.isExecutableFile(atPath: "/usr/bin/openssl") }

    /// - Parameters:
    ///   - arbiter: what `[arbiter]` says; a folder by default.
    ///   - peerControl: the port at which beta's control channel is looked for; one at which nobody listens by default.
    ///   - changes: applied to the configuration's text, for tests of what it may not say.
    init(arbiter: String? = nil, peerControl: UInt16? = nil, waiting: Bool = true, changes: (String) -> String = { $0 }) throws {
        folder = FileManager.default.temporaryDirectory.path + "/understudyd-tests-\(UUID().uuidString.prefix(8))"
        for name in ["", "/arbiter"] { try FileManager.default.createDirectory(atPath: folder + name, withIntermediateDirectories: true) }
        authority = try LabAuthority(folder: folder)
        let files = try authority.issue("alpha")
        socket = "\(folder)/understudyd.sock"
        control = try FreePort.take()
        checkpoint = try FreePort.take()
        let text = """
            name = "alpha"
            listen = "127.0.0.1:\(control)"
            checkpoint-listen = "127.0.0.1:\(checkpoint)"
            runtime-folder = "\(folder)/run"
            state-folder = "\(folder)/state"
            socket = "\(socket)"

            [tls]
            authority = "\(authority.certificate)"
            certificate = "\(files.certificate)"
            key = "\(files.key)"

            [arbiter]
            \(arbiter ?? "folder = \"\(folder)/arbiter\"")

            [[peers]]
            name = "beta"
            control = "127.0.0.1:\(try peerControl ?? FreePort.take())"
            checkpoint = "127.0.0.1:\(try FreePort.take())"

            """
        let path = "\(folder)/understudyd.toml"
        try changes(text).write(toFile: path, atomically: true, encoding: .utf8)
        process = try LabProcess.start(
            ["/usr/bin/setpriv", "--pdeathsig", "KILL", Programs.daemon, "--config", path], log: "\(folder)/log", name: "understudyd")
        if waiting { try wait(for: "the daemon's first answer") { (try? self.perform(.status)) != nil } }
    }

    deinit {
        process.end()
        do { try FileManager.default.removeItem(atPath: folder) } catch { print("\(folder) was left: \(error)") }
    }

    var log: String { (try? String(contentsOfFile: "\(folder)/log", encoding: .utf8)) ?? "" }

    /// The certificate of a peer, signed by the authority that the daemon believes unless another one is given.
    func certificate(of name: String = "beta", signedBy other: LabAuthority? = nil) throws -> ControlTLS {
        var files = (certificate: "\(folder)/\(name).pem", key: "\(folder)/\(name).key")
        if other != nil || !FileManager.default.fileExists(atPath: files.certificate) { files = try (other ?? authority).issue(name) }
        return ControlTLS(authorityFile: authority.certificate, certificateFile: files.certificate, keyFile: files.key)
    }

    @discardableResult
    func perform(_ request: HostRequest, onReply: (HostReply) -> Void = { _ in }) throws(HostAPIError) -> HostResult {
        try HostClient(socketPath: socket).perform(request, onReply: onReply)
    }

    /// The error of a request that must fail.
    func failure(of request: HostRequest) -> HostAPIError? {
        do throws(HostAPIError) {
            try perform(request)
            return nil
        } catch { return error }
    }

    /// The machines that it knows; an error when it does not answer.
    func machines() throws -> [MachineStatus] {
        guard case .status(let status) = try perform(.status) else { return [] }
        return status.machines
    }

    func events() throws -> [HostEvent] {
        var events: [HostEvent] = []
        try perform(.events(follow: false)) { if case .event(let event) = $0 { events.append(event) } }
        return events
    }

    /// Waits for a condition, never for time.
    func wait(seconds: Double = 120, for what: String, until condition: () -> Bool) throws {
        let end = ContinuousClock.now + .seconds(seconds)
        while !condition() {
            guard ContinuousClock.now < end else { throw DaemonFailure("waited \(seconds) s in vain for \(what)\n\(log.suffix(3000))") }
            usleep(5_000)
        }
    }

    /// The operator's program against this daemon, or another socket.
    func understudy(_ arguments: [String], socket other: String? = nil) throws -> (status: Int32, output: String) {
        try Programs.run([Programs.client] + arguments + ["--socket", other ?? socket])
    }
}

struct DaemonFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}
