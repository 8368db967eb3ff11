// SPDX-License-Identifier: Apache-2.0

/// The backup's side of one session of protection, without I/O and without a clock.
///
/// It acknowledges only whole, verified epochs, each the successor of the one before; it stops acknowledging before it asks the arbiter,
/// and takes over with everything that it acknowledged. It asks once: a lost compare-and-set disposes the standby.
public struct BackupProtocol: Sendable, Hashable {
    public let configuration: BackupConfiguration
    public internal(set) var state: BackupState = .preparing
    /// The record that this session stands on: the permitted one, after a takeover this host's own one.
    public internal(set) var record: ArbiterRecord

    var nonces: NonceSequence
    var conversation: ArbiterConversation
    var detector: FailureDetector
    /// When the primary's channel closed, until a heartbeat comes again.
    var closedAt: UInt64?
    /// Why the standby cannot run, learnt while the arbiter decided.
    var standbyFailure: String?
    /// `runGuest` was given: from here on the guest's output may have been seen.
    var mayHaveRun = false

    /// A record that does not permit this host gives a session that has failed from the start.
    public init(_ configuration: BackupConfiguration, now: UInt64) {
        self.configuration = configuration
        record = configuration.record
        nonces = NonceSequence(seed: configuration.nonceSeed)
        conversation = ArbiterConversation(retry: configuration.timing.arbiterRetry)
        let timing = configuration.timing
        detector = FailureDetector(
            limit: timing.detection, longestLimit: timing.longestSilence, ownPause: timing.ownPause, now: now)
        // The record comes from the peer.
        if record.backup != configuration.host || record.owner == configuration.host || !record.confirmed {
            state = .failed(.protocolViolation("the primary's record does not permit \(configuration.host) as backup"))
        }
    }

    /// The silence of the primary that is borne now, nanoseconds.
    public var silenceLimit: UInt64 { detector.currentLimit }

    /// What the next heartbeat says.
    public var condition: BackupCondition {
        switch state {
        case .preparing: .preparing
        case .synchronising: .synchronising
        case .rehearsed: .rehearsed
        case .eligible(let committed): .eligible(committed: committed)
        case .deciding: .deciding
        case .takingOver, .confirming, .handingBack: .takingOver
        case .active: .active
        case .dismissed, .failed: .unable
        }
    }

    /// Takes one event. - Parameter now: monotonic nanoseconds, taken right before the call.
    public mutating func handle(_ event: BackupEvent, now: UInt64) -> [BackupAction] {
        var actions: [BackupAction] = []
        if case .ownPause(let pause) = detector.observe(now: now), watchesPrimary { actions = [.report(.ownPause(nanoseconds: pause))] }
        return actions + perform(event, now: now)
    }

    private mutating func perform(_ event: BackupEvent, now: UInt64) -> [BackupAction] {
        switch event {
        case .tick: tick(now: now)
        case .standbyPrepared: prepared()
        case .rehearsed: rehearsed()
        case .rehearsalFailed(let reason): rehearsalFailed(reason)
        case .epochStaged(let identity): staged(identity, now: now)
        case .epochTorn(let identity, let reason): torn(identity, reason)
        case .epochApplied(let epoch): applied(epoch)
        case .heartbeat(let age): heartbeat(age: age, now: now)
        case .primaryBears(let limit): primaryBears(limit)
        case .streamAdvanced: streamAdvanced(now: now)
        case .takeoverRequested(let request): takeoverRequested(request)
        case .switchoverAnnounced: switchoverAnnounced()
        case .primaryChannelClosed: channelClosed(now: now)
        case .dismissed(let reason): dismissed(reason)
        case .standbyDied(let reason): standbyDied(reason)
        case .outOfMemory: outOfMemory()
        case .standbyActivated: activated()
        case .guestRunning: running()
        case .activationFailed(let reason): activationFailed(reason)
        case .arbiterRead(let number, let reading): settled(conversation.answered(number, reading, now: now))
        case .arbiterAnswered(let number, let answer): settled(conversation.answered(number, answer, now: now))
        }
    }

    mutating func enter(_ new: BackupState) -> [BackupAction] {
        state = new
        return [.report(.stateChanged(new))]
    }

    func ignored(_ what: String) -> [BackupAction] { [.report(.ignored("\(what) in state \(state)"))] }

    /// True before any decision: the primary is watched and may dismiss us.
    var watchesPrimary: Bool {
        switch state {
        case .preparing, .synchronising, .rehearsed, .eligible: true
        case .deciding, .takingOver, .confirming, .active, .handingBack, .dismissed, .failed: false
        }
    }

    /// The last epoch of which everything is here; nil before epoch 1.
    var committed: UInt64? {
        switch state {
        case .eligible(let committed), .deciding(let committed), .takingOver(let committed): committed
        default: nil
        }
    }

}
