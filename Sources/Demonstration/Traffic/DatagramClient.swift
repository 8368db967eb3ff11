import Glibc

/// A UDP client: one numbered datagram per period, never sent again.
final class DatagramClient: TrafficWorker {
    private let log: TrafficLog
    private let thread: LabThread
    private let socket: Int32

    /// - Parameter period: nanoseconds between datagrams.
    init(kind: ClientKind, client: UInt64, socket: Int32, period: UInt64) throws(DemonstrationError) {
        let log = TrafficLog(kind: kind, client: client)
        self.log = log
        self.socket = socket
        thread = try LabThread { DatagramClient.run(log, socket, period) }
    }

    var progress: ClientProgress { log.progress }

    func requestStop(drainUntil deadline: UInt64) { log.requestStop(drainUntil: deadline) }

    func finish() -> ClientRecord {
        thread.join()
        close(socket)
        return log.record
    }

    /// Lost datagrams never come, so that a stopped client waits only this long for replies on their way.
    private static let lastWait: UInt64 = 200_000_000

    private static func run(_ log: TrafficLog, _ socket: Int32, _ period: UInt64) {
        var nextAt = MonotonicTime.now()
        var lastChance: UInt64?
        while true {
            let now = MonotonicTime.now()
            if let deadline = log.drainUntil {
                let end = lastChance ?? min(deadline, now + lastWait)
                lastChance = end
                if log.outstanding <= 0 || now >= end { return }
            } else {
                while nextAt <= now {
                    let request = log.nextRequest(at: now)
                    // A datagram that cannot be sent (no route, no neighbour) counts as lost, as it would on a wire.
                    send(socket, request, request.count, Int32(MSG_NOSIGNAL))
                    nextAt += period
                }
            }
            let patience = log.drainUntil == nil ? Int32((max(nextAt, now) - now + 999_999) / 1_000_000) : 20
            if ClientSocket.wait(socket, for: POLLIN, milliseconds: patience) { receive(log, socket) }
        }
    }

    private static func receive(_ log: TrafficLog, _ socket: Int32) {
        var buffer = [UInt8](repeating: 0, count: 2048)
        let count = recv(socket, &buffer, buffer.count, 0)
        let now = MonotonicTime.now()
        // A pending error (an ICMP message, say) is reported once by recv and cleared by it.
        guard count >= 0 else { return }
        if count == ServiceProtocol.replyLength {
            log.received(buffer[..<count], at: now)
        } else {
            log.receivedMalformed()
        }
    }
}
