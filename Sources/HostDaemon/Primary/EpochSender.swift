internal import Links
internal import UnderstudyCore

/// The thread that sends an epoch while the guest already runs in the next one.
final class EpochSender: Sendable {
    private let jobs: Mailbox<Job?>
    private let stream: SealedStream
    private let thread: DedicatedThread

    private struct Job: Sendable {
        let begin: WireMessage.EpochBegin
        let pages: Int
        let deviceStateBytes: Int
    }

    /// - Parameter sent: called on the thread after an epoch has gone to the kernel, or failed to.
    init(
        engine: CheckpointEngine, transmission: EpochTransmission, stream: SealedStream, patience: Duration, faults: FaultPoints,
        sent: @escaping @Sendable (UInt64, LinkError?) -> Void
    ) throws(HostDaemonError) {
        let jobs = try Mailbox<Job?>()
        self.jobs = jobs
        self.stream = stream
        // The session thread makes the next cut only after this epoch was acknowledged, so between `send` and the acknowledgement the
        // arenas, the run list and the transmission belong to this thread; they outlive it, being captured here.
        let (arena, runs, deviceState) = (engine.arena, engine.runs, engine.deviceState)
        thread = try DedicatedThread(name: "sender", urgent: true) {
            while true {
                for job in jobs.waitAndTake() {
                    guard let job else { return }
                    faults.pass(.epochSending)
                    do throws(LinkError) {
                        try transmission.send(
                            job.begin, runs: runs.runs, pages: UnsafeRawBufferPointer(arena.bytes),
                            deviceState: UnsafeRawBufferPointer(rebasing: deviceState.bytes[..<job.deviceStateBytes]), patience: patience)
                        faults.pass(.epochSent)
                        sent(job.begin.identity.epoch, nil)
                    } catch {
                        sent(job.begin.identity.epoch, error)
                    }
                }
            }
        }
    }

    /// Sends the epoch that lies in the engine.
    func send(_ begin: WireMessage.EpochBegin, cut: CheckpointEngine.Cut) {
        jobs.post(Job(begin: begin, pages: cut.dirtyPages, deviceStateBytes: cut.deviceStateBytes))
    }

    /// Ends stream and thread.
    func stop() {
        stream.shutdown()
        jobs.post(nil)
        thread.join()
    }
}
