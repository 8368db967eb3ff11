import Foundation
import Glibc
import LinuxShim
import NBD
import Testing

@testable import HostDaemon

/// Programs that were built beside the tests.
private enum BuiltProgram {
    static func path(_ name: String) -> String? {
        let bundle = Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }?.bundlePath ?? CommandLine.arguments[0]
        return [bundle, "/proc/self/exe", CommandLine.arguments[0]].map {
            URL(fileURLWithPath: $0).resolvingSymlinksInPath().deletingLastPathComponent().appendingPathComponent(name).path
        }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }
    static let watch = path("understudy-guard")
}

/// A server of writes that stands still does not keep its clients waiting.
@Suite(.serialized, .enabled(if: geteuid() == 0 && BuiltProgram.watch != nil, "needs root and the built programs"))
struct ServerGuardTests {
    /// A server in a process of its own, and a guard that hears of it what the test says.
    private final class Bench {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("understudy-guard-\(UUID().uuidString)").path
        let server = Process()
        private let watcher = Process()
        private let (input, signs) = (Pipe(), Pipe())

        init(isGuarded: Bool = true) throws {
            server.executableURL = URL(fileURLWithPath: try #require(BuiltProgram.path("nbd-serve")))
            server.arguments = [path, "1048576"]
            server.standardInput = input
            try server.run()
            while !FileManager.default.fileExists(atPath: path) { usleep(1_000) }
            guard isGuarded else { return }
            watcher.executableURL = URL(fileURLWithPath: try #require(BuiltProgram.watch))
            watcher.arguments = ["\(server.processIdentifier)", path, "200"]
            watcher.standardInput = signs
            try watcher.run()
        }

        deinit {
            try? signs.fileHandleForWriting.close()
            if watcher.isRunning { watcher.waitUntilExit() }
            kill(server.processIdentifier, SIGKILL)
            server.waitUntilExit()
            unlink(path)
        }

        func giveSign() throws { try signs.fileHandleForWriting.write(contentsOf: Data([1])) }

        func connect() throws -> CInt {
            while true {
                let client = understudy_connect_unix(path)
                if client >= 0 { return client }
                guard client == -ECONNREFUSED else { throw HostDaemonError(.system, "no connection: errno \(-client)") }
            }
        }
    }

    /// Whether a server greets, rather than ending the connection.
    private func hears(_ client: CInt) -> Bool {
        var greeting = [UInt8](repeating: 0, count: 18)
        var heard = 0
        while heard < greeting.count {
            var there = pollfd(fd: client, events: Int16(POLLIN), revents: 0)
            guard poll(&there, 1, 60_000) == 1 else { return false }
            let count = greeting.withUnsafeMutableBytes { recv(client, $0.baseAddress! + heard, $0.count - heard, 0) }
            guard count > 0 else { return false }
            heard += count
        }
        return true
    }

    /// Sends until there is no room; whether room comes within a time, and the connection's end with it.
    private func ends(_ client: CInt, milliseconds: CInt) -> Bool {
        let zeroes = [UInt8](repeating: 0, count: 65_536)
        let flags = CInt(MSG_NOSIGNAL) | CInt(MSG_DONTWAIT)
        while true {
            if send(client, zeroes, zeroes.count, flags) >= 0 { continue }
            guard errno == EAGAIN else { return true }
            var room = pollfd(fd: client, events: Int16(POLLOUT), revents: 0)
            // As QEMU does it: the end of the connection alone is not looked for.
            let limit = MonotonicClock.now + UInt64(milliseconds) * 1_000_000
            repeat { _ = poll(&room, 1, 10) } while room.revents & Int16(POLLOUT) == 0 && MonotonicClock.now < limit
            if room.revents & Int16(POLLOUT) == 0 { return false }
        }
    }

    @Test func `clients of a server that stands still are cut off, those with a full socket and those whom it has not seen too`() throws {
        let bench = try Bench()
        let client = try bench.connect()
        defer { close(client) }
        #expect(hears(client))
        kill(bench.server.processIdentifier, SIGSTOP)
        let unseen = try bench.connect()
        defer { close(unseen) }
        #expect(ends(client, milliseconds: 60_000))
        #expect(!hears(unseen))
        // And it serves when it goes on.
        kill(bench.server.processIdentifier, SIGCONT)
        while true {
            // A connection may still be turned away before the guard has had a sign.
            try bench.giveSign()
            let next = try bench.connect()
            defer { close(next) }
            if hears(next) { break }
        }
    }

    @Test func `without a guard they wait (negative control)`() throws {
        let bench = try Bench(isGuarded: false)
        let client = try bench.connect()
        defer { close(client) }
        kill(bench.server.processIdentifier, SIGSTOP)
        #expect(!ends(client, milliseconds: 1_000))
    }

    @Test func `a daemon that lives is left alone, and its guard goes with it`() throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("understudy-guard-\(UUID().uuidString)").path
        let queue = try WriteQueue(byteCount: 64 << 20, patience: 60_000_000_000) { _ in }
        let comparison = BlockComparison(disk: 0, byteCount: 1 << 20, queue: queue)
        let disk = ReplicatedDisk(name: "disk", index: 0, byteCount: 1 << 20, queue: queue, comparison: comparison)
        let server = try NBDServer(socketPath: path, exports: [disk])
        defer { server.stop() }
        let watch = try ServerGuard(program: try #require(BuiltProgram.watch), socketPath: path, patience: 2_000_000_000)
        let client = understudy_connect_unix(path)
        defer { close(client) }
        #expect(hears(client))
        usleep(3_000_000)
        var end = pollfd(fd: client, events: Int16(POLLIN), revents: 0)
        #expect(poll(&end, 1, 0) == 0)
        watch.stop()
    }
}
