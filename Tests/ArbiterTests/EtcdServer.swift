// SPDX-License-Identifier: Apache-2.0

import Arbiter
import Foundation
import Glibc

/// A real etcd on loopback with a data folder of its own; ended and removed by `stop`.
final class EtcdServer {
    static let path = "/usr/bin/etcd"
    static var isInstalled: Bool { FileManager.default.isExecutableFile(atPath: path) }

    /// It did not start; `log` is what it said.
    struct Failure: Error, CustomStringConvertible {
        let reason: String
        let log: String
        var description: String { "etcd \(reason): \(log.suffix(2000))" }
        /// Somebody else took one of its ports after it was chosen.
        var isClash: Bool { log.contains("address already in use") }
    }

    let endpoint: String
    private let process = Process()
    private let folder: URL

    private init() throws {
        // In memory where that is possible: a slow disk makes etcd refuse requests, which is not what these tests are about.
        let parent = FileManager.default.fileExists(atPath: "/dev/shm") ? "/dev/shm" : FileManager.default.temporaryDirectory.path
        folder = URL(fileURLWithPath: parent).appendingPathComponent("understudy-etcd-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let ports = try Loopback.freePorts(2)
        let peer = "http://127.0.0.1:\(ports[0])"
        endpoint = "http://127.0.0.1:\(ports[1])"
        process.executableURL = URL(fileURLWithPath: Self.path)
        process.arguments = [
            "--name", "test", "--data-dir", folder.path + "/data", "--listen-client-urls", endpoint, "--advertise-client-urls", endpoint,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "test=\(peer)",
        ]
        let log = folder.appendingPathComponent("log")
        try Data().write(to: log)
        process.standardOutput = FileHandle.nullDevice
        process.standardError = try FileHandle(forWritingTo: log)
        try process.run()
        try waitUntilReady()
    }

    static func with<Result>(_ body: (EtcdServer) throws -> Result) throws -> Result {
        let server = try start()
        defer { server.stop() }
        return try body(server)
    }

    private static func start() throws -> EtcdServer {
        for _ in 0..<9 { do { return try EtcdServer() } catch let failure as Failure where failure.isClash {} }
        return try EtcdServer()
    }

    /// Returns when the server has stopped.
    func freeze() throws {
        kill(process.processIdentifier, SIGSTOP)
        let tasks = "/proc/\(process.processIdentifier)/task"
        while try FileManager.default.contentsOfDirectory(atPath: tasks).contains(where: {
            try !String(contentsOfFile: "\(tasks)/\($0)/status", encoding: .utf8).contains("State:\tT")
        }) { usleep(1000) }
    }

    func stop() {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
        do { try FileManager.default.removeItem(at: folder) } catch { print("\(folder.path) could not be removed: \(error)") }
    }

    private func waitUntilReady() throws {
        let arbiter = try EtcdArbiter.patient([endpoint], 1_000_000_000)
        let end = ContinuousClock.now + .seconds(120)
        while true {
            do {
                _ = try arbiter.read(key: "ready")
                // Whoever answers at that port is this etcd only if it is still there.
                if process.isRunning { return }
            } catch {
                if process.isRunning, ContinuousClock.now < end {
                    usleep(50_000)
                    continue
                }
            }
            let reason = process.isRunning ? "did not answer within 120 s" : "ended"
            let log = try String(contentsOf: folder.appendingPathComponent("log"), encoding: .utf8)
            stop()
            throw Failure(reason: reason, log: log)
        }
    }
}

extension EtcdArbiter {
    /// One whose time limits a loaded machine does not reach; the product's own are for a decision that must not wait.
    static func patient(_ endpoints: [String], _ readTimeout: UInt64 = ArbiterContract.patience) throws -> EtcdArbiter {
        try EtcdArbiter(endpoints: endpoints, connectTimeout: readTimeout, readTimeout: readTimeout)
    }
}
