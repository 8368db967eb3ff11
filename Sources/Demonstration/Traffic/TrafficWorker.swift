/// A client at work on a thread of its own.
protocol TrafficWorker: Sendable {
    var progress: ClientProgress { get }
    /// Asks it to send nothing more and to wait for outstanding replies until the instant (`MonotonicTime`) at most.
    func requestStop(drainUntil deadline: UInt64)
    /// Waits for its end, closes its socket and hands over its record. Call once.
    func finish() -> ClientRecord
}
