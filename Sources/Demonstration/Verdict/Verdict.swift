/// What a run proves, from the records of its clients, the survivor's chain and the daemons' figures. Pure.
///
/// All times are milliseconds. A value that could not be measured is nil and printed as `null`.
public struct Verdict: Sendable {
    /// Both TCP connections had no error and, when a host died, answered again after the death.
    public var connectionSurvived: Bool
    /// Requests sent over TCP.
    public var requests: Int
    /// TCP requests that were never answered.
    public var lost: Int
    /// Replies to a request that had been answered before, all clients.
    public var duplicated: Int
    /// Replies that came after the reply to a later request of the same client, all clients.
    public var reordered: Int
    /// Those of them that UDP clients saw.
    public var reorderedDatagrams: Int
    /// Replies that are not in the survivor's chain with equal counter, random and digest, counters that go back for a client,
    /// foreign replies, and breaks inside the survivor's own chain.
    public var chainViolations: Int
    /// Longest silence of the pipelined TCP client that ended after the death (of the whole run when nobody died).
    public var clientGapMilliseconds: Double?
    /// The same for the ping-pong TCP client.
    public var pingpongGapMilliseconds: Double?
    /// The same for the faster UDP client, whose datagrams nobody repeats: what remains when no frame is lost.
    public var datagramGapMilliseconds: Double?
    /// Last frame released by the old host to the first one from the new host.
    public var outageMilliseconds: Double?
    public var daemons: DaemonFigures
    /// Ping-pong round trips under protection minus the median of those before `protect` in the same run.
    public var addedRoundTripMilliseconds: Quantiles?
    public var udpRequests: Int
    /// Datagrams without a reply: legitimate while nobody runs the guest.
    public var udpLost: Int
    /// What the survivor's disk holds; nil for a guest without one.
    public var disk: DiskVerdict?
    public var qemu: String
    public var seed: UInt64

    /// Whether the guest's clients saw one uninterrupted history.
    public var passed: Bool {
        connectionSurvived && requests > 0 && lost == 0 && duplicated == 0 && reordered == 0 && chainViolations == 0
            && disk?.passed ?? true
    }

    /// The same for a guest that was moved: a datagram on its way from the old host to the new one may be overtaken by one that takes the new way,
    /// as in any network whose routes change.
    public func passed(reorderedDatagrams limit: Int) -> Bool {
        guard reorderedDatagrams <= limit else { return false }
        var others = self
        others.reordered -= reorderedDatagrams
        return others.passed
    }

    /// Judges a run.
    public static func judge(_ run: RunRecord) -> Verdict {
        let streams = run.clients.filter { $0.kind.isStream }
        let datagrams = run.clients.filter { !$0.kind.isStream }
        let pipelined = run.clients.first { $0.kind == .tcpPipelined }
        let pingpong = run.clients.first { $0.kind == .tcpPingPong }
        let datagram = run.clients.first { $0.kind == .udpFast }
        let inspector = ChainInspector(run.chain)
        return Verdict(
            connectionSurvived: !streams.isEmpty && streams.allSatisfy { $0.survived(deathAt: run.times.diedAt) },
            requests: streams.reduce(0) { $0 + $1.sentAt.count },
            lost: streams.reduce(0) { $0 + $1.unanswered },
            duplicated: run.clients.reduce(0) { $0 + $1.duplicated },
            reordered: run.clients.reduce(0) { $0 + $1.reordered },
            reorderedDatagrams: datagrams.reduce(0) { $0 + $1.reordered },
            chainViolations: inspector.chainBreaks + run.clients.reduce(0) { $0 + inspector.violations(of: $1) },
            clientGapMilliseconds: pipelined?.longestSilence(endingAfter: run.times.diedAt),
            pingpongGapMilliseconds: pingpong?.longestSilence(endingAfter: run.times.diedAt),
            datagramGapMilliseconds: datagram?.longestSilence(endingAfter: run.times.diedAt),
            outageMilliseconds: outage(run.times),
            daemons: run.daemons,
            addedRoundTripMilliseconds: pingpong.flatMap { addedRoundTrip($0, run.times) },
            udpRequests: datagrams.reduce(0) { $0 + $1.sentAt.count },
            udpLost: datagrams.reduce(0) { $0 + $1.unanswered },
            disk: run.disk.map { DiskVerdict.judge($0, clients: run.clients) },
            qemu: run.qemu, seed: run.seed)
    }

    private static func outage(_ times: RunTimes) -> Double? {
        guard let last = times.lastFrameOfOldHostAt, let first = times.firstFrameOfNewHostAt else { return nil }
        return milliseconds(from: last, to: first)
    }

    private static func addedRoundTrip(_ client: ClientRecord, _ times: RunTimes) -> Quantiles? {
        guard let requested = times.protectRequestedAt, let protected = times.protectedAt else { return nil }
        let baseline = client.roundTrips(sentFrom: 0, receivedUntil: requested)
        guard let unprotected = Quantiles(of: baseline)?.p50 else { return nil }
        let held = client.roundTrips(sentFrom: protected, receivedUntil: times.diedAt ?? .max)
        return Quantiles(of: held.map { $0 - unprotected })
    }

    /// Signed difference of two instants.
    static func milliseconds(from start: UInt64, to end: UInt64) -> Double {
        (Double(end) - Double(start)) / 1_000_000
    }
}
