// SPDX-License-Identifier: Apache-2.0

/// The primary's side of one session of protection, without I/O and without a clock.
///
/// From the moment at which epoch 1 is allowed the output gate counts as closed and only a won compare-and-set opens it. Frames leave
/// before that only by `release`, which follows from an acknowledgement of exactly the epoch in flight, received without a suspicious
/// silence before it.
public struct PrimaryProtocol: Sendable, Hashable {
    /// What became of the guest while something else was being decided.
    enum Guest: Sendable, Hashable {
        case present
        case ended
        case lost
    }

    public let configuration: PrimaryConfiguration
    public internal(set) var state: PrimaryState = .idle
    /// The record that this session stands on, once the arbiter gave it.
    public internal(set) var record: ArbiterRecord?

    var nonces: NonceSequence
    var conversation: ArbiterConversation
    var detector: FailureDetector
    var flight: PrimaryFlight?
    var acknowledged: UInt64 = 0
    var released: UInt64 = 0
    /// Nothing is released before the arbiter has been read: we, or the link, were silent for too long.
    var mustVerify = false
    /// A compare-and-set of ours allows the gate to be open.
    var gateOpened = false
    /// An earlier daemon was allowed to open the gate.
    var wasReleased = false
    var guest: Guest = .present
    var guestHeld = false
    /// How the session ends after the decision under way.
    var wantedEnd: PrimaryOutcome?
    var pollAt: UInt64 = 0
    /// When a primary with a hung guest and a silent backup decides itself.
    var soloAt: UInt64?
    var complaint: PrimaryReport?
    var switchover: PlannedSwitchover?

    public init(_ configuration: PrimaryConfiguration, now: UInt64) {
        self.configuration = configuration
        nonces = NonceSequence(seed: configuration.nonceSeed)
        conversation = ArbiterConversation(retry: configuration.timing.arbiterRetry)
        let timing = configuration.timing
        detector = FailureDetector(
            limit: timing.backupSuspicion, longestLimit: timing.longestSilence / 10 * 7, ownPause: timing.ownPause, now: now)
    }

    /// The epoch whose cut may be made now; nil while one is in flight or the session is not protected.
    public var allowedCheckpoint: UInt64? {
        guard let flight, flight.stage == .allowed else { return nil }
        return flight.epoch
    }

    /// Whether the arbiter lets everything held leave, and the guest is there to which it belongs: what hinders the gate's opening is on this host.
    public var mayOpenGate: Bool { gateOpened && guest != .lost }

    /// The last epoch that the backup holds for certain, 0 before the first.
    public var acknowledgedEpoch: UInt64 { acknowledged }

    /// The silence of the backup that is borne now, nanoseconds.
    public var silenceLimit: UInt64 { detector.currentLimit }

    /// Begins protection: reads the record, creates it if absent, permits the backup, then `prepareBackup`.
    public mutating func begin(now: UInt64) -> [PrimaryAction] {
        guard state == .idle else { return ignored("begin") }
        return enter(.registering) + [.askArbiter(conversation.read())]
    }

    /// A restarted daemon that found its gate closed: nothing opens before the arbiter has been read and a compare-and-set was won.
    /// If its QEMU is gone, the daemon sends `guestFailed(.exited)` right afterwards: the permitted backup is then not shut out.
    /// - Parameters:
    ///   - session: the record under which the gate was closed, as the daemon saved it (see ``record``); nil if it is unknown.
    ///   - wasReleased: the daemon before was allowed to open the gate (see ``mayOpenGate``) and could not; the record may be gone since then.
    public mutating func reopen(session: ArbiterRecord?, wasReleased: Bool = false, now: UInt64) -> [PrimaryAction] {
        guard state == .idle else { return ignored("reopen") }
        record = session
        self.wasReleased = wasReleased
        // The daemon before us may have died while it held the guest; whoever goes on alone lets it run.
        guestHeld = true
        return enter(.deciding) + [.askArbiter(conversation.read())]
    }

    /// Goes on as the unprotected owner: after a takeover by this host, with the confirmed record of its `BackupProtocol`.
    public mutating func continueSolo(_ record: ArbiterRecord) -> [PrimaryAction] {
        guard state == .idle, record.owner == configuration.host, record.confirmed else { return ignored("continueSolo") }
        self.record = record
        gateOpened = true
        return enter(.solo)
    }

    /// Takes one event. - Parameter now: monotonic nanoseconds, taken right before the call.
    public mutating func handle(_ event: PrimaryEvent, now: UInt64) -> [PrimaryAction] {
        let observation = observe(now: now)
        return observation + perform(event, now: now)
    }

    private mutating func perform(_ event: PrimaryEvent, now: UInt64) -> [PrimaryAction] {
        switch event {
        case .tick: tick(now: now)
        case .rehearsed: rehearsed()
        case .epochCut(let epoch): cut(epoch)
        case .epochHandedToLink(let epoch): handedToLink(epoch)
        case .checkpointAbandoned(let epoch): abandoned(epoch)
        case .acknowledged(let identity): acknowledged(identity, now: now)
        case .heartbeat(let condition): heartbeat(condition, now: now)
        case .backupLost(let loss): backupLost(loss, now: now)
        case .guestFailed(let failure): guestFailed(failure, now: now)
        case .guestEnded(let end): guestEnded(end)
        case .unprotectRequested: unprotect()
        case .switchoverRequested(let timeout): switchoverRequested(timeout: timeout, now: now)
        case .switchoverReady: switchoverReady()
        case .switchoverDeclined(let reason): switchoverDeclined(reason)
        case .takeoverDeclined(let reason): declined(reason)
        case .winnerRuns(let generation): winnerRuns(generation)
        case .handedBack: handedBack()
        case .arbiterRead(let number, let reading): settled(conversation.answered(number, reading, now: now), now: now)
        case .arbiterAnswered(let number, let answer): settled(conversation.answered(number, answer, now: now), now: now)
        }
    }

    mutating func enter(_ new: PrimaryState) -> [PrimaryAction] {
        state = new
        switch new {
        case .protected, .switchingOver, .handingOver(.switchover): break
        default: switchover = nil
        }
        if case .ended = new {
            conversation.close()
            flight = nil
        }
        return [.report(.stateChanged(new))]
    }

    func ignored(_ what: String) -> [PrimaryAction] { [.report(.ignored("\(what) in state \(state)"))] }

    /// True while frames are held and the backup may be able to take over.
    var isGated: Bool {
        switch state {
        case .rehearsed, .protected, .switchingOver, .handingOver: true
        default: false
        }
    }
}
