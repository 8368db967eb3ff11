// SPDX-License-Identifier: Apache-2.0

import Arbiter
import Foundation
import Glibc

/// Members of one etcd cluster on loopback, each with a data folder of its own; with TLS and client certificates when asked for.
final class EtcdCluster {
    struct Files {
        let authority: String, certificate: String, key: String

        var security: EtcdSecurity { EtcdSecurity(authority: authority, certificate: certificate, key: key) }
    }

    final class Member {
        let endpoint: String
        fileprivate let arguments: [String]
        fileprivate let data: String
        fileprivate var process: Process?

        fileprivate init(endpoint: String, data: String, arguments: [String]) {
            self.endpoint = endpoint
            self.data = data
            self.arguments = arguments
        }
    }

    let folder: String
    let files: Files?
    private(set) var members: [Member] = []

    private init(count: Int, secure: Bool) throws {
        let parent = FileManager.default.fileExists(atPath: "/dev/shm") ? "/dev/shm" : FileManager.default.temporaryDirectory.path
        folder = "\(parent)/understudy-etcd-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        files = secure ? try Self.makeFiles(in: folder) : nil
        let ports = try Loopback.freePorts(2 * count)
        let peers = (0..<count).map { "m\($0)=http://127.0.0.1:\(ports[$0])" }
        for index in 0..<count {
            let endpoint = "\(secure ? "https" : "http")://127.0.0.1:\(ports[count + index])"
            let peer = "http://127.0.0.1:\(ports[index])"
            let data = "\(folder)/m\(index)"
            var arguments = [
                "--name", "m\(index)", "--data-dir", data, "--listen-client-urls", endpoint, "--advertise-client-urls", endpoint,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", peers.joined(separator: ","),
            ]
            if let files {
                arguments += [
                    "--cert-file", files.certificate, "--key-file", files.key, "--client-cert-auth", "--trusted-ca-file", files.authority,
                ]
            }
            members.append(Member(endpoint: endpoint, data: data, arguments: arguments))
        }
    }

    @discardableResult static func with<Result>(_ count: Int = 1, secure: Bool = false, _ body: (EtcdCluster) throws -> Result) throws
        -> Result
    {
        // OpenSSL writes to its sockets without MSG_NOSIGNAL; the daemon ignores the signal as well.
        signal(SIGPIPE, SIG_IGN)
        let cluster = try EtcdCluster(count: count, secure: secure)
        defer {
            for member in cluster.members { cluster.stop(member) }
            try? FileManager.default.removeItem(atPath: cluster.folder)
        }
        for member in cluster.members { try cluster.start(member) }
        try cluster.awaitAnswer()
        return try body(cluster)
    }

    var endpoints: [String] { members.map(\.endpoint) }

    func arbiter(_ security: EtcdSecurity? = nil, history: EtcdHistory? = nil) throws -> EtcdArbiter {
        try EtcdArbiter(
            endpoints: endpoints, security: security ?? files?.security ?? EtcdSecurity(), history: history,
            connectTimeout: ArbiterContract.patience, readTimeout: ArbiterContract.patience)
    }

    func start(_ member: Member) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: EtcdServer.path)
        process.arguments = member.arguments
        let log = member.data + ".log"
        if !FileManager.default.fileExists(atPath: log) { try Data().write(to: URL(fileURLWithPath: log)) }
        process.standardOutput = FileHandle.nullDevice
        process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: log))
        try process.run()
        member.process = process
    }

    func stop(_ member: Member) {
        guard let process = member.process else { return }
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
        member.process = nil
    }

    func awaitAnswer() throws {
        // With a history of its own: what this asks is no part of the test.
        let end = ContinuousClock.now + .seconds(120)
        let arbiter = try arbiter()
        while true {
            do throws(ArbiterError) {
                _ = try arbiter.read(key: "ready")
                return
            } catch {
                if error.code == .unauthenticated { return }
                guard ContinuousClock.now < end else { throw error }
                usleep(50_000)
            }
        }
    }

    /// What the only member holds now, for `restore`.
    func backUp() throws {
        stop(members[0])
        try FileManager.default.copyItem(atPath: members[0].data, toPath: members[0].data + ".backup")
        try start(members[0])
        try awaitAnswer()
    }

    /// The operator puts a backup back in place.
    func restore() throws {
        stop(members[0])
        try FileManager.default.removeItem(atPath: members[0].data)
        try FileManager.default.copyItem(atPath: members[0].data + ".backup", toPath: members[0].data)
        try start(members[0])
        try awaitAnswer()
    }

    /// Through curl, so that the test does not depend on the code under test.
    func post(_ path: String, _ body: [String: Any], token: String? = nil) throws -> [String: Any] {
        let text = String(decoding: try JSONSerialization.data(withJSONObject: body), as: UTF8.self)
        let header = token.map { ["-H", "Authorization: \($0)"] } ?? []
        let output = try Self.run("/usr/bin/curl", ["-sSf"] + header + ["-d", text, endpoints[0] + path])
        return try JSONSerialization.jsonObject(with: output) as? [String: Any] ?? [:]
    }

    private static func makeFiles(in folder: String) throws -> Files {
        let (authority, key, certificate) = ("\(folder)/ca.pem", "\(folder)/host.key", "\(folder)/host.pem")
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        _ = try run(
            "/usr/bin/openssl", ["req", "-x509"] + curve + ["-subj", "/CN=authority", "-keyout", "\(folder)/ca.key", "-out", authority])
        _ = try run(
            "/usr/bin/openssl",
            ["req", "-x509"] + curve + [
                "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-CA",
                authority, "-CAkey", "\(folder)/ca.key", "-keyout", key, "-out", certificate,
            ])
        return Files(authority: authority, certificate: certificate, key: key)
    }

    @discardableResult static func run(_ program: String, _ arguments: [String]) throws -> Data {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let data = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Failure(what: "\(program) \(arguments) failed") }
        return data
    }

    struct Failure: Error { let what: String }
}
