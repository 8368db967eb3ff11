internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import Links
internal import Packing
internal import Synchronization
internal import UnderstudyCore

/// The thread that stages whole epochs, verifies them and, when told so, feeds them to the standby.
///
/// One arena: the next epoch is read only after the one before has been applied, so the link's own buffers hold the sender back.
final class EpochReceiver: Sendable {
    enum Event: Sendable {
        /// A verified checkpoint lies in the arena and waits for `decide`.
        case staged(EpochIdentity, pages: Int)
        case applied(UInt64)
        case rehearsed
        case rehearsalFailed(String)
        case torn(EpochIdentity?, String)
        case standbyFailed(String)
        /// The stream is over; the thread ends.
        case ended(String)
        case refused(EpochIdentity, String)
    }

    enum Verdict: Sendable { case apply, discard }

    private let verdicts: Mailbox<Verdict>
    private let thread: DedicatedThread
    private let stream: SealedStream
    private let state: State

    /// The arena and what was committed; owned by the thread until it has ended.
    final class State: @unchecked Sendable {
        // SAFETY: the receiver's thread alone touches it; the session reads the committed state after `join`.
        let arena: StagingArena
        let blockLengths: [UInt64]
        let unpacker: RecordUnpacker
        /// The device state that came last, of `takenLength` bytes: the next one may be a delta against it.
        var takenState: [UInt8] = []
        var takenLength = 0
        /// Room for the next one.
        var stagedState: [UInt8] = []
        /// Bytes of `takenState` when it belongs to a committed checkpoint whose memory the standby has; else 0.
        var committedLength = 0
        /// From the first checkpoint on only whole checkpoints change the standby.
        var holdsCheckpoint = false
        var rehearsedSummary: DeviceStateSummary?
        var standby: StandbyProcess
        var rehearsal: StandbyProcess?

        init(
            arena: StagingArena, blockLengths: [UInt64], standby: StandbyProcess, rehearsal: StandbyProcess
        ) throws(HostDaemonError) {
            do throws(PackingError) { unpacker = try RecordUnpacker() } catch {
                throw HostDaemonError(.system, error.message, cause: error)
            }
            self.arena = arena
            self.blockLengths = blockLengths
            self.standby = standby
            self.rehearsal = rehearsal
        }
    }

    init(stream: SealedStream, state: State, base: EpochIdentity, post: @escaping @Sendable (Event) -> Void) throws(HostDaemonError) {
        let verdicts = try Mailbox<Verdict>()
        self.verdicts = verdicts
        self.stream = stream
        self.state = state
        thread = try DedicatedThread(name: "receiver", urgent: true) {
            EpochReception(stream: stream, state: state, base: base, verdicts: verdicts, post: post).run()
        }
    }

    func decide(_ verdict: Verdict) { verdicts.post(verdict) }

    /// Ends the stream, waits until everything that was decided has been applied, and hands over the last committed device state.
    func finish() -> [UInt8] {
        stream.shutdown()
        verdicts.post(.discard)
        thread.join()
        return Array(state.takenState[..<state.committedLength])
    }
}
