// SPDX-License-Identifier: Apache-2.0

@testable import UnderstudyCore

/// A primary, a backup, an arbiter and the links between them, in simulated time and from one seed: delays, cuts, frozen daemons, lost and
/// late arbiter replies, failing guests and standbys. `violations` lists every broken invariant.
struct Simulation {
    enum Node: Hashable { case primary, backup, world }

    /// A deliberate mistake, to show that the checks see it.
    enum Mutation: CaseIterable {
        case soloWithoutArbiter, takeoverWithoutArbiter, acknowledgedBeforeStaged, acknowledgedByItself, lostReplyCountsAsWon
        case handsBackAfterRunning, staysAcknowledgingWhileDeciding
        case switchesOverBeforeTheLastEpoch, runsOnAfterTheLastEpoch
    }

    enum Fault: CaseIterable {
        case linkCut, cutToBackup, cutToPrimary, channelCloses, primaryFreezes, backupFreezes, primaryLosesArbiter, backupLosesArbiter
        case guestExits, guestHangs, guestShutsDown, unprotect, standbyDies, backupOutOfMemory, activationFails, epochTorn, standbyDiesLate
        case switchover, hastySwitchover
        case blipOfASecond, blipOfTwoSeconds, primarySleepsASecond, backupSleepsASecond
    }

    enum Work {
        case primary(PrimaryEvent), backup(BackupEvent)
        case primaryTick, backupTick, primaryHeartbeat, backupHeartbeat
        case checkpoint(UInt64), epochArrives(EpochIdentity)
        case decide(ArbiterRequest, Node), late(ArbiterProposal)
        case fault(Fault)
    }

    static let millisecond: UInt64 = 1_000_000

    var random: Seeded
    let mutation: Mutation?
    var now: UInt64 = 1_000_000_000
    var queue: [(time: UInt64, order: Int, node: Node, work: Work)] = []
    var order = 0
    var primary: PrimaryProtocol
    var backup: BackupProtocol?
    var stored: ArbiterRecord?
    var violations: [String] = []

    var frozenUntil: [Node: UInt64] = [:]
    var linkCutUntil: [Node: UInt64] = [:]
    var arbiterCutUntil: [Node: UInt64] = [:]
    var lastArrival: [Node: UInt64] = [:]
    var tearNext = false
    var activationFails = false
    var diesWhileActivating = false

    /// What is true on the hosts, whatever the protocols believe.
    var gateClosed = false, guestAlive = true, guestStopped = false
    var guestEverRanOnBackup = false, backupRuns = false, backupWonAt: UInt64?
    var arrived: UInt64 = 0, released: UInt64 = 0, commits = 0
    /// The newest epoch that was cut, and why the backup decided to take over.
    var lastCut: UInt64 = 0, cause: TakeoverCause?, refusals = 0

    init(seed: UInt64, faults: [Fault]? = nil, mutation: Mutation? = nil) {
        random = Seeded(state: seed)
        self.mutation = mutation
        let configuration = PrimaryConfiguration(
            host: "a", backup: "b", sessionNonce: random.next(), nonceSeed: (random.next(), random.next()))
        primary = PrimaryProtocol(configuration, now: now)
        for action in primary.begin(now: now) { perform(action) }
        schedule(.primary, after: 1, .primaryTick)
        schedule(.backup, after: 2, .backupTick)
        schedule(.primary, after: 3, .primaryHeartbeat)
        schedule(.backup, after: 4, .backupHeartbeat)
        let injected = faults ?? (0..<random.below(5)).map { _ in Fault.allCases[Int(random.below(UInt64(Fault.allCases.count)))] }
        for fault in injected { schedule(.world, after: 150 + random.below(1200), .fault(fault)) }
    }

    static func run(seed: UInt64, faults: [Fault]? = nil, mutation: Mutation? = nil) -> Simulation {
        var simulation = Simulation(seed: seed, faults: faults, mutation: mutation)
        while simulation.now < 6_000_000_000, simulation.step() {}
        return simulation
    }

    /// The old guest may be heard outside.
    var primaryIsHeard: Bool { guestAlive && !guestStopped && !gateClosed }

    /// A guest is heard, or will be as soon as its next epoch is acknowledged.
    var isServed: Bool {
        if case .protected = primary.state, guestAlive, !guestStopped { return true }
        return primaryIsHeard || backupRuns
    }

    mutating func schedule(_ node: Node, after milliseconds: UInt64, _ work: Work) {
        schedule(node, at: now + milliseconds * Self.millisecond + random.below(Self.millisecond), work)
    }

    mutating func schedule(_ node: Node, at time: UInt64, _ work: Work) {
        order += 1
        insert((time, order, node, work))
    }

    private mutating func insert(_ entry: (time: UInt64, order: Int, node: Node, work: Work)) {
        let index = queue.firstIndex { ($0.time, $0.order) > (entry.time, entry.order) } ?? queue.count
        queue.insert(entry, at: index)
    }

    private mutating func step() -> Bool {
        guard !queue.isEmpty else { return false }
        var entry = queue.removeFirst()
        now = max(now, entry.time)
        if let until = frozenUntil[entry.node], until > now {
            entry.time = until
            insert(entry)
            return true
        }
        perform(entry.work)
        check()
        return true
    }

    private mutating func check() {
        if primaryIsHeard, guestEverRanOnBackup { violate("I4: the old guest is heard after the backup's guest ran") }
        if primaryIsHeard, case .switchingOver(let last) = primary.state { violate("the guest is heard after its last epoch, \(last)") }
    }

    mutating func violate(_ what: String) {
        if violations.count < 5 {
            violations.append("\(what) (primary \(primary.state), backup \(String(describing: backup?.state)), at \(now))")
        }
    }

    private mutating func perform(_ work: Work) {
        switch work {
        case .primary(let event): handle(event)
        case .backup(let event): handle(event)
        case .primaryTick:
            handle(PrimaryEvent.tick)
            schedule(.primary, after: 10, .primaryTick)
        case .backupTick:
            handle(BackupEvent.tick)
            schedule(.backup, after: 10, .backupTick)
        case .primaryHeartbeat:
            send(.backup(.heartbeat(progressAge: 0)), to: .backup)
            schedule(.primary, after: 30, .primaryHeartbeat)
        case .backupHeartbeat:
            if let condition = backup?.condition { send(.primary(.heartbeat(condition)), to: .primary) }
            schedule(.backup, after: 30, .backupHeartbeat)
        case .checkpoint(let epoch): checkpoint(epoch)
        case .epochArrives(let identity): epochArrives(identity)
        case .decide(let request, let node): decide(request, node)
        case .late(let proposal): _ = compareAndSet(proposal)
        case .fault(let fault): inject(fault)
        }
    }

    /// A message on the control or data channel: in order, and late rather than lost, as with TCP.
    mutating func send(_ work: Work, to node: Node, transfer: UInt64 = 0) {
        let start = max(now, linkCutUntil[node] ?? 0)
        let arrival = max(start + (1 + transfer + random.below(8)) * Self.millisecond, lastArrival[node] ?? 0)
        lastArrival[node] = arrival
        schedule(node, at: arrival, work)
    }
}
