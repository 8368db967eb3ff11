import Foundation
import Glibc
import Logging
import Testing

@testable import Systemd

@Suite struct SystemdTests {
    /// A datagram socket that stands for systemd's.
    private final class Receiver {
        let path = FileManager.default.temporaryDirectory.path + "/us-\(UInt32.random(in: .min ... .max)).sock"
        private let descriptor: CInt

        init(_ name: String? = nil) throws {
            descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            var bytes = Array((name ?? path).utf8)
            if name != nil { bytes[0] = 0 }
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
            let length = socklen_t(2 + bytes.count + (name == nil ? 1 : 0))
            let bound = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
            }
            try #require(bound == 0)
        }

        deinit {
            close(descriptor)
            unlink(path)
        }

        /// What waits; nil when nothing does.
        func take() -> [UInt8]? {
            var bytes = [UInt8](repeating: 0, count: 65_536)
            let count = recv(descriptor, &bytes, bytes.count, CInt(MSG_DONTWAIT))
            return count < 0 ? nil : Array(bytes[..<count])
        }

        var text: String? { take().map { String(decoding: $0, as: UTF8.self) } }
    }

    @Test func `systemd is told when the service is ready, alive and stopping`() throws {
        let receiver = try Receiver()
        let notifier = ServiceNotifier(environment: ["NOTIFY_SOCKET": receiver.path, "WATCHDOG_USEC": "30000000"], process: 7)
        #expect(notifier.watchdogMicroseconds == 30_000_000)
        notifier.ready(status: "on alpha\nWATCHDOG=trigger")
        notifier.alive()
        notifier.stopping(status: "bye")
        #expect(receiver.text == "READY=1\nSTATUS=on alpha WATCHDOG=trigger")
        #expect(receiver.text == "WATCHDOG=1")
        #expect(receiver.text == "STOPPING=1\nSTATUS=bye")
        #expect(receiver.take() == nil)
    }

    @Test func `an abstract socket is reached`() throws {
        let name = "@understudy-test-\(UInt64.random(in: .min ... .max))"
        let receiver = try Receiver(name)
        ServiceNotifier(environment: ["NOTIFY_SOCKET": name], process: 7).alive()
        #expect(receiver.text == "WATCHDOG=1")
    }

    @Test func `without systemd nothing happens, and another process's watchdog is not ours`() {
        let notifier = ServiceNotifier(environment: ["WATCHDOG_USEC": "1", "WATCHDOG_PID": "8"], process: 7)
        notifier.ready(status: "")
        notifier.alive()
        #expect(notifier.watchdogMicroseconds == nil)
        ServiceNotifier(environment: ["NOTIFY_SOCKET": "/nowhere/at/all"], process: 7).alive()
    }

    @Test func `a log line becomes an entry of the journal with its fields`() throws {
        let receiver = try Receiver()
        let path = receiver.path
        var logger = Logger(label: "understudyd") { _ in
            JournalLogHandler(identifier: "understudyd", socketPath: path, fallback: { _ in })
        }
        logger.logLevel = .info
        logger.warning("two\nlines", metadata: ["machine": "web", "days-left": "3"])
        let entry = try #require(receiver.take())
        let expected: [UInt8] =
            Array("MESSAGE\n".utf8) + [9, 0, 0, 0, 0, 0, 0, 0]
            + Array("two\nlines\nPRIORITY=4\nSYSLOG_IDENTIFIER=understudyd\nUNDERSTUDY_DAYS_LEFT=3\nUNDERSTUDY_MACHINE=web\n".utf8)
        #expect(entry == expected)
    }

    @Test func `what the journal does not take goes to standard error with a priority`() {
        let said = Said()
        let logger = Logger(label: "understudyd") { _ in
            JournalLogHandler(identifier: "understudyd", socketPath: "/nowhere/at/all", fallback: { said.line = $0 })
        }
        logger.critical("one\ntwo", metadata: ["machine": "web"])
        #expect(said.line == "<2>one two machine=web")
    }

    @Test func `the journal is used only when standard error is its stream`() throws {
        let path = FileManager.default.temporaryDirectory.path + "/us-\(UInt32.random(in: .min ... .max)).stream"
        let descriptor = open(path, O_RDWR | O_CREAT, 0o600)
        defer {
            close(descriptor)
            unlink(path)
        }
        var status = stat()
        try #require(fstat(descriptor, &status) == 0)
        let stream = "\(status.st_dev):\(status.st_ino)"
        #expect(JournalLogHandler.isConnected(environment: ["JOURNAL_STREAM": stream], descriptor: descriptor))
        #expect(!JournalLogHandler.isConnected(environment: ["JOURNAL_STREAM": stream], descriptor: 0))
        #expect(!JournalLogHandler.isConnected(environment: ["JOURNAL_STREAM": "x"], descriptor: descriptor))
        #expect(!JournalLogHandler.isConnected(environment: [:], descriptor: descriptor))
    }

    private final class Said: @unchecked Sendable {
        // SAFETY: one thread of one test.
        var line = ""
    }
}
