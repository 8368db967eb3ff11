import Glibc

/// A blocking client of qemu-ga, the agent in a guest, at the socket of its virtio-serial port.
///
/// The port is a plain byte stream that outlives its clients, so every conversation begins with `guest-sync-delimited`: what an earlier client left
/// unread is passed over. Commands: `guest-get-time`, `guest-set-time`. One thread at a time uses a client.
///
/// Source: QEMU `docs/interop/qemu-ga-ref`.
public final class GuestAgent {
    private var socket: QMPSocket
    private let path: String

    /// Throws `.connectFailed`.
    public init(socketPath: String) throws(QMPError) {
        path = socketPath
        socket = try QMPSocket(path: socketPath)
    }

    /// Throws `.timeout` when no agent runs in the guest, or something else has its attention.
    public func synchronise(timeout: Duration = .seconds(3)) throws(QMPError) {
        let number = Int64.random(in: 1...Int64(Int32.max))
        let deadline = Deadline(after: timeout)
        try send("guest-sync-delimited", ["id": .int(number)])
        while true {
            guard let answer = try answer(before: deadline) else { throw silent }
            if answer["return"] == .int(number) { return }
        }
    }

    /// Until the year 2096, half of what 64 bits hold.
    private static let times: ClosedRange<Int64> = 0...4_000_000_000_000_000_000

    /// The guest's real-time clock, nanoseconds since 1970.
    public func time(timeout: Duration = .seconds(3)) throws(QMPError) -> Int64 {
        guard case .int(let time) = try ask("guest-get-time", timeout: timeout) else {
            throw QMPError(.protocolViolation, "the guest's agent at \(path) told no time")
        }
        // The guest says what it likes; whoever reckons with it must not overflow.
        guard Self.times.contains(time) else {
            throw QMPError(.protocolViolation, "the guest's agent at \(path) told a time that no clock shows: \(time)")
        }
        return time
    }

    /// Sets the guest's system clock, and its hardware clock from it.
    public func setTime(_ time: Int64, timeout: Duration = .seconds(10)) throws(QMPError) {
        _ = try ask("guest-set-time", ["time": .int(time)], timeout: timeout)
    }

    private func ask(_ command: String, _ arguments: [String: JSONValue]? = nil, timeout: Duration) throws(QMPError) -> JSONValue {
        try send(command, arguments)
        guard let answer = try answer(before: Deadline(after: timeout)) else { throw silent }
        if let value = answer["return"] { return value }
        throw QMPError(
            .commandFailed, "the guest's agent refuses \(command): \(answer["error"]?["desc"]?.string ?? "for no reason that it names")",
            errorClass: answer["error"]?["class"]?.string)
    }

    private func send(_ command: String, _ arguments: [String: JSONValue]?) throws(QMPError) {
        var request: [String: JSONValue] = ["execute": .string(command)]
        if let arguments { request["arguments"] = .object(arguments) }
        // The agent's parser begins anew at a byte that is no UTF-8.
        try socket.send([0xFF] + JSONValue.object(request).serialized() + [UInt8(ascii: "\n")], passing: nil)
    }

    /// The next line that is an object; nil when the deadline passes first.
    private func answer(before deadline: Deadline) throws(QMPError) -> JSONValue? {
        while let line = try socket.line(before: deadline) {
            let start = line.lastIndex(of: 0xFF).map { line.index(after: $0) } ?? line.startIndex
            // What an earlier client left half read is no JSON.
            if let value = try? JSONValue(parsing: Array(line[start...])), value.object != nil { return value }
        }
        return nil
    }

    private var silent: QMPError { QMPError(.timeout, "no agent answers in the guest (\(path)): is qemu-guest-agent running there?") }
}
