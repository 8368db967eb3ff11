import Foundation
import Glibc
import HostAPI
import Testing

/// Random and mutated bytes at the daemon's Unix socket.
@Suite(.enabled(if: RunningDaemon.isPossible, "needs root, openssl and the built programs"))
struct APIFuzzTests {
    private static let requests: [[UInt8]] = {
        let requests: [HostRequest] = [
            .status, .events(follow: false), .events(follow: true), .unprotect(name: "vm"), .check(CheckRequest()),
            .check(CheckRequest(qmp: "/nowhere", backup: "beta")), .wait(name: "vm", state: "protected", timeoutSeconds: 0.001),
            .wait(name: "vm", state: "protected", timeoutSeconds: 3600),
            .protect(ProtectRequest(name: "vm", qmp: "/nowhere", backup: "beta", intervalMilliseconds: 25)),
        ]
        return requests.map { request in
            guard let data = try? JSONEncoder().encode(request) else { preconditionFailure("a request is always representable as JSON") }
            return Array(data) + [0x0a]
        }
    }()

    @Test func theDaemonSurvivesWhateverComesThroughItsSocket() async throws {
        try await FuzzRun.onOwnThread { try fuzz() }
    }

    private func fuzz() throws {
        let daemon = try RunningDaemon()
        try FuzzRun(daemon: daemon, name: "API socket").play { numbers in
            switch Int.random(in: 0..<20, using: &numbers) {
            case 0: flood(daemon, &numbers)
            case 1: send(Array(repeating: UInt8(ascii: "["), count: 1 << 20), to: daemon, &numbers)
            case 2: send(numbers.bytes((1 << 20)...(1 << 20 + 100_000)), to: daemon, &numbers)
            case 3...6: send(numbers.bytes(0...5_000), to: daemon, &numbers)
            case 7: send(Array(repeating: 0x0a, count: 3_000), to: daemon, &numbers)
            default:
                var bytes: [UInt8] = []
                for _ in 0..<Int.random(in: 1...5, using: &numbers) {
                    let request = numbers.element(of: Self.requests)
                    bytes += numbers.chance(of: 3, in: 4) ? numbers.mutated(request) : request
                }
                send(bytes, to: daemon, &numbers)
            }
        } probe: {
            try daemon.wait(for: "a well-formed answer to a well-formed request") {
                guard case .status? = try? daemon.perform(.status) else { return false }
                return true
            }
        }
    }

    /// Sends in pieces, and reads the answers, some of them, or none.
    private func send(_ bytes: [UInt8], to daemon: RunningDaemon, _ numbers: inout SeededBytes) {
        let descriptor = connect(daemon)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var rest = bytes[...]
        while !rest.isEmpty {
            let piece = rest.prefix(numbers.chance(of: 1, in: 2) ? rest.count : Int.random(in: 1...rest.count, using: &numbers))
            guard Array(piece).withUnsafeBytes({ UnixSocket.writeAll(descriptor, $0) }) else { return }
            rest = rest.dropFirst(piece.count)
        }
        guard numbers.chance(of: 2, in: 3) else { return }
        // The daemon ends the conversation at the end of what is asked; what lasts (follow, wait) is left in the middle.
        if numbers.chance(of: 2, in: 3) { shutdown(descriptor, CInt(SHUT_WR)) }
        var answer: [UInt8] = []
        while answer.count < 200_000, UnixSocket.readMore(descriptor, into: &answer) {}
    }

    /// More clients than the daemon serves, all of them slow.
    private func flood(_ daemon: RunningDaemon, _ numbers: inout SeededBytes) {
        let descriptors = (0..<80).map { _ in connect(daemon) }
        for descriptor in descriptors where descriptor >= 0 {
            let part = numbers.element(of: Self.requests).dropLast(3)
            _ = Array(part).withUnsafeBytes { UnixSocket.writeAll(descriptor, $0) }
        }
        for descriptor in descriptors where descriptor >= 0 { close(descriptor) }
    }

    /// A connection whose reads and writes end after a moment.
    private func connect(_ daemon: RunningDaemon) -> CInt {
        let descriptor = UnixSocket.connect(path: daemon.socket)
        var limit = timeval(tv_sec: 0, tv_usec: 20_000)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        return descriptor
    }
}
