// SPDX-License-Identifier: Apache-2.0

@testable import UnderstudyCore

/// One state of two hosts, their links and an arbiter, for an exhaustive search: the real protocols, and around them everything that the world may do.
///
/// Nothing that was sent is ever taken off the network: each message may arrive at any time, in any order, once, often or never. The same holds for
/// the questions to the arbiter and its answers. Only what makes its receiver ask the arbiter comes once at most: each question has a new number,
/// and there would be no end of states. What can have no effect any more is left out, so that equal situations are equal states.
/// Time passes for each host by itself, in steps that are long enough for a suspicion; safety must not depend on clocks.
struct ModelState: Hashable {
    /// What may happen besides messages, and how often.
    struct Bounds: Hashable {
        var epochs: UInt64 = 2
        /// Silences that are long enough for a suspicion, for each host.
        var silences = 2
        var faults: [Fault: Int] = [:]
    }

    enum Fault: Hashable, CaseIterable {
        case guestExits, guestHangs, guestShutsDown, unprotect, switchover, standbyDies, channelCloses, primaryPauses, epochTorn,
            activationFails
        case primaryHostDies, primaryDaemonRestarts, backupHostDies, backupDaemonRestarts
    }

    /// A deliberate mistake, to show that the search sees it.
    enum Mutation: CaseIterable {
        /// The takeover is compared with whatever record is stored, and not with the one in which the state was committed.
        case comparesWithCurrent
        case acknowledgesAfterAsking
        case takesTornForWhole
        case lostReplyCountsAsWon
        case opensBeforeTheAnswer
        case resumesBeforeConfirmation
    }

    enum Node: Hashable { case primary, backup }

    /// A message to the backup.
    enum ToBackup: Hashable {
        case epoch(EpochIdentity)
        case event(BackupEvent)
    }

    struct Question: Hashable {
        var node: Node
        var request: ArbiterRequest
    }

    /// What is left of the standby when its daemon died, and what the next one makes of it.
    enum Standby: Hashable {
        case none, waiting, loaded, running, gone
    }

    var primary: PrimaryProtocol?
    var backup: BackupProtocol?
    var stored: ArbiterRecord?
    var toPrimary: Set<PrimaryEvent> = []
    var toBackup: Set<ToBackup> = []
    var questions: Set<Question> = []
    /// The question of each host that is open.
    var open: [Node: ArbiterRequest] = [:]
    var time: [Node: UInt64]
    var bounds: Bounds

    // What is true on the hosts, whatever the protocols believe.
    var saved: ArbiterRecord?
    var session: ArbiterRecord?
    var gateClosed = false, guestAlive = true, guestStopped = false
    var standby = Standby.none
    var recovery: TakeoverRecovery.Step?
    var isLoading = false
    var loadingFails = false
    var backupRuns = false, backupEverRan = false
    var cut: UInt64 = 0, arrived: UInt64 = 0, released: UInt64 = 0, resumedFrom: UInt64?
    var incarnation: UInt64 = 1
    var violation: String?

    static let timing = ProtocolTiming()
    static let start: UInt64 = 1_000_000_000
    static let sessionNonce: UInt64 = 77

    /// Both daemons have rehearsed; epoch 1 may be cut.
    init(_ bounds: Bounds, _ mutation: Mutation?) {
        self.bounds = bounds
        time = [.primary: Self.start, .backup: Self.start]
        var primary = PrimaryProtocol(Self.configuration(incarnation: 1), now: Self.start)
        var actions = primary.begin(now: Self.start)
        while case .askArbiter(let request)? = actions.last(where: { if case .askArbiter = $0 { true } else { false } }) {
            if case .compareAndSet(let proposal) = request.operation {
                stored = proposal.proposed
                actions = primary.handle(.arbiterAnswered(number: request.number, .won(stored)), now: Self.start)
            } else {
                actions = primary.handle(.arbiterRead(number: request.number, .record(stored)), now: Self.start)
            }
        }
        session = stored
        saved = stored
        standby = .waiting
        var backup = BackupProtocol(
            BackupConfiguration(host: "b", record: stored!, sessionNonce: Self.sessionNonce, nonceSeed: (2, 2)), now: Self.start)
        _ = backup.handle(.standbyPrepared, now: Self.start)
        _ = backup.handle(.rehearsed, now: Self.start)
        self.primary = primary
        self.backup = backup
        send(PrimaryEvent.rehearsed, mutation)
    }

    static func configuration(incarnation: UInt64) -> PrimaryConfiguration {
        PrimaryConfiguration(host: "a", backup: "b", sessionNonce: sessionNonce, nonceSeed: (1, incarnation))
    }

    /// The old guest may be heard outside.
    var primaryIsHeard: Bool { guestAlive && !guestStopped && !gateClosed }

    /// A session that has ended does nothing any more.
    private mutating func dropWhatNobodyTakes() {
        if case .ended? = primary?.state {
            toPrimary = []
            open[.primary] = nil
        }
        switch backup?.state {
        case .active, .failed(.guestLost), .failed(.lostArbitration), .dismissed:
            toBackup = []
            open[.backup] = nil
        default: break
        }
        // Nobody was told to release an epoch that is not the one in flight, so an earlier acknowledgement is stale for ever.
        let (released, committed) = (released, arrived)
        toPrimary = toPrimary.filter { if case .acknowledged(let identity) = $0 { identity.epoch > released } else { true } }
        toBackup = toBackup.filter { if case .epoch(let identity) = $0 { identity.epoch >= committed } else { true } }
    }

    mutating func violate(_ what: String) { violation = violation ?? what }

    mutating func check() {
        dropWhatNobodyTakes()
        if primaryIsHeard, backupEverRan { violate("I4: the old guest is heard after the backup's guest ran") }
        if primaryIsHeard, case .switchingOver(let last)? = primary?.state { violate("the guest is heard after its last epoch, \(last)") }
    }
}
