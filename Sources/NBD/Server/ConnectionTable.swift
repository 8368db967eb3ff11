import Glibc
import Synchronization

/// The connections of a server and their threads.
final class ConnectionTable: Sendable {
    private struct State {
        var isStopped = false
        var next: UInt64 = 0
        var sockets: [UInt64: StreamSocket] = [:]
        var threads: [UInt64: ConnectionThread] = [:]
        /// Threads that have nothing left to do but end.
        var finished: [ConnectionThread] = []
        var acceptor: ConnectionThread?
    }

    private let exports: [any NBDExport]
    private let handshakeTimeout: Duration
    private let report: @Sendable (NBDError) -> Void
    private let state = Mutex(State())

    init(exports: [any NBDExport], handshakeTimeout: Duration, report: @escaping @Sendable (NBDError) -> Void) {
        self.exports = exports
        self.handshakeTimeout = handshakeTimeout
        self.report = report
    }

    var count: Int { state.withLock { $0.sockets.count } }

    func startAccepting(from listener: ListeningSocket) throws(NBDError) {
        let thread = try ConnectionThread(name: "nbd-accept") { self.accept(from: listener) }
        state.withLock { $0.acceptor = thread }
    }

    func disconnectAll() {
        let sockets = state.withLock { Array($0.sockets.values) }
        for socket in sockets { socket.cut() }
    }

    /// The listener has been stopped before.
    func stop() {
        let acceptor = state.withLock {
            $0.isStopped = true
            return $0.acceptor.take()
        }
        acceptor?.join()
        disconnectAll()
        let threads = state.withLock { state in
            let threads = Self.takeFinished(&state) + state.threads.values
            state.threads = [:]
            return threads
        }
        for thread in threads { thread.join() }
    }

    private func accept(from listener: ListeningSocket) {
        while true {
            do throws(NBDError) {
                guard let socket = try listener.accept() else { return }
                try start(socket)
            } catch {
                report(error)
                // Out of descriptors or threads: trying again at once would only burn the processor.
                usleep(10_000)
                if state.withLock({ $0.isStopped }) { return }
            }
            for thread in state.withLock({ Self.takeFinished(&$0) }) { thread.join() }
        }
    }

    private static func takeFinished(_ state: inout State) -> [ConnectionThread] {
        defer { state.finished = [] }
        return state.finished
    }

    private func start(_ socket: StreamSocket) throws(NBDError) {
        try state.withLock { (state) throws(NBDError) in
            guard state.sockets.count < NBDServer.connectionLimit else {
                throw NBDError(.refused, "a client was turned away: \(NBDServer.connectionLimit) connections are open")
            }
            let number = state.next
            state.next += 1
            // Under the lock, so that the thread finds itself in the table when it ends.
            state.threads[number] = try ConnectionThread(name: "nbd-connection") {
                self.serve(socket)
                self.finish(number)
            }
            state.sockets[number] = socket
        }
    }

    private func finish(_ number: UInt64) {
        state.withLock { state in
            state.sockets[number] = nil
            // `stop` may have taken it already.
            if let thread = state.threads.removeValue(forKey: number) { state.finished.append(thread) }
        }
    }

    private func serve(_ socket: StreamSocket) {
        do throws(NBDError) {
            guard let handshake = try Handshake(socket, patience: handshakeTimeout).run(exports: exports) else { return }
            var transmission = try Transmission(socket, handshake)
            handshake.export.connected()
            defer { handshake.export.disconnected() }
            try transmission.run()
        } catch {
            report(error)
        }
        // The peer sees the end now, even while another thread still holds the socket to cut it.
        socket.cut()
    }
}
