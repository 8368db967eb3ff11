/// The four clients of a run, on threads of their own, with their sockets in the client's network namespace.
public final class Clients: Sendable {
    private let workers: [any TrafficWorker]

    init(workers: [any TrafficWorker]) { self.workers = workers }

    /// What every client has done so far.
    public var progress: [ClientProgress] { workers.map(\.progress) }

    /// Stops to send, waits until every TCP request is answered, the connection broke or `drainSeconds` have passed, and closes.
    ///
    /// - Returns: one record per client, in the order of `ClientKind.allCases`. Call once.
    public func stop(drainSeconds: Int = 5) -> [ClientRecord] {
        let deadline = MonotonicTime.now() + UInt64(drainSeconds) * 1_000_000_000
        for worker in workers { worker.requestStop(drainUntil: deadline) }
        return workers.map { $0.finish() }
    }
}
