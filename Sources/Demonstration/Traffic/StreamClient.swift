import Glibc

/// A TCP client: sends at a fixed pace without waiting, or the next request at each reply.
final class StreamClient: TrafficWorker {
    private let log: TrafficLog
    private let thread: LabThread
    private let socket: Int32

    /// - Parameters:
    ///   - period: nanoseconds between requests.
    ///   - awaitsReply: the next request also waits for the reply to the last one.
    init(kind: ClientKind, client: UInt64, socket: Int32, period: UInt64, awaitsReply: Bool) throws(DemonstrationError) {
        let log = TrafficLog(kind: kind, client: client)
        self.log = log
        self.socket = socket
        thread = try LabThread { Conversation(log, socket, period, awaitsReply).run() }
    }

    var progress: ClientProgress { log.progress }

    func requestStop(drainUntil deadline: UInt64) { log.requestStop(drainUntil: deadline) }

    func finish() -> ClientRecord {
        thread.join()
        close(socket)
        return log.record
    }

    /// The thread's own state.
    private struct Conversation {
        let log: TrafficLog
        let socket: Int32
        let period: UInt64
        let awaitsReply: Bool
        var outgoing: [UInt8] = []
        var incoming: [UInt8] = []
        var nextAt = MonotonicTime.now()
        var broken = false

        init(_ log: TrafficLog, _ socket: Int32, _ period: UInt64, _ awaitsReply: Bool) {
            self.log = log
            self.socket = socket
            self.period = period
            self.awaitsReply = awaitsReply
        }

        consuming func run() {
            while !broken {
                let now = MonotonicTime.now()
                if let deadline = log.drainUntil {
                    if log.outstanding <= 0 || now >= deadline { return }
                } else {
                    enqueueDue(now)
                }
                flush()
                let events = outgoing.isEmpty ? POLLIN : POLLIN | POLLOUT
                if ClientSocket.wait(socket, for: events, milliseconds: patience(MonotonicTime.now())) { receive() }
            }
        }

        private mutating func enqueueDue(_ now: UInt64) {
            if awaitsReply {
                guard nextAt <= now, log.outstanding == 0 else { return }
                outgoing += log.nextRequest(at: now)
                nextAt = now + period
                return
            }
            while nextAt <= now {
                outgoing += log.nextRequest(at: now)
                nextAt += period
            }
        }

        /// Milliseconds until the next request is due, 20 at most: a stop request must be seen soon.
        private func patience(_ now: UInt64) -> Int32 {
            if log.drainUntil != nil || (awaitsReply && log.outstanding > 0) { return 20 }
            return nextAt <= now ? 0 : min(20, Int32((nextAt - now + 999_999) / 1_000_000))
        }

        private mutating func flush() {
            guard !outgoing.isEmpty else { return }
            let count = send(socket, outgoing, outgoing.count, Int32(MSG_NOSIGNAL))
            if count > 0 {
                outgoing.removeFirst(count)
            } else if errno != EAGAIN, errno != EINTR {
                breakOff("send: \(LabSystem.message(errno))")
            }
        }

        private mutating func receive() {
            var buffer = [UInt8](repeating: 0, count: 65536)
            let count = recv(socket, &buffer, buffer.count, 0)
            let code = errno
            let now = MonotonicTime.now()
            if count == 0 { return breakOff("the guest closed the connection") }
            if count < 0 {
                if code != EAGAIN, code != EINTR { breakOff("receive: \(LabSystem.message(code))") }
                return
            }
            incoming += buffer[..<count]
            var rest = incoming[...]
            while rest.count >= ServiceProtocol.replyLength {
                log.received(rest.prefix(ServiceProtocol.replyLength), at: now)
                rest = rest.dropFirst(ServiceProtocol.replyLength)
            }
            incoming = Array(rest)
        }

        private mutating func breakOff(_ reason: String) {
            log.broke(reason)
            broken = true
        }
    }
}
