internal import Logging
internal import Arbiter
internal import UnderstudyCore

/// The arbiter's record of a machine that a host starts itself: while a host holds it, no other one starts the machine (invariant I4).
struct MachineClaim: Sendable {
    /// This host's name.
    let host: String
    let arbiter: any ArbiterClient
    let events: EventLog
    private static let patience: UInt64 = 5_000_000_000

    /// Takes the record for this host; the record of an earlier run here is as good.
    ///
    /// - Parameter discard: also out of a session whose backup may still hold the last checkpoint, which is given up with it.
    /// - Throws: `.elsewhere` when another host has the machine, `.refused` when a checkpoint would be given up, `.arbiter`.
    func take(_ name: String, discard: Bool) throws(HostDaemonError) {
        let proposal: ArbiterProposal
        switch try read(name) {
        case nil: proposal = .create(owner: host, nonce: Self.nonce())
        case .some(let record) where record.owner != host:
            throw HostDaemonError(
                .elsewhere, "\(name) belongs to \(record.owner) (generation \(record.generation)): look there with `understudy status`")
        case .some(let record) where record.backup == nil && record.confirmed: return
        case .some(let record) where discard: proposal = .goSolo(from: record, nonce: Self.nonce())
        case .some(let record):
            throw HostDaemonError(
                .refused,
                "\(record.backup ?? "the other host") may hold the last checkpoint of \(name) and take over from it. Look there; "
                    + "when it is gone for good, `understudy vm start \(name) --discard` gives that checkpoint up")
        }
        let answer = arbiter.compareAndSet(key: HostContext.key(of: name), proposal: proposal, timeout: Self.patience)
        guard case .won = answer else {
            throw HostDaemonError(.arbiter, "the arbiter did not give \(name) to this host (\(answer)): try again")
        }
        if discard {
            events.record(
                "checkpoint-discarded", machine: name, "whatever another host holds of an earlier run was given up on request",
                level: .warning)
        }
    }

    /// Gives the record of a machine back that ended here. One that another host has, or a backup may take, is left alone.
    func release(_ name: String) throws(HostDaemonError) {
        guard let record = try read(name), record.owner == host, record.backup == nil, record.confirmed else {
            return
        }
        let answer = arbiter.compareAndSet(key: HostContext.key(of: name), proposal: .end(record), timeout: Self.patience)
        if case .unknown(let reason) = answer {
            throw HostDaemonError(
                .arbiter, "\(name) ended, and its record at the arbiter may still name this host, so no other one can start it: \(reason)")
        }
    }

    func read(_ name: String) throws(HostDaemonError) -> ArbiterRecord? {
        do throws(ArbiterError) {
            return try arbiter.read(key: HostContext.key(of: name))
        } catch {
            throw HostDaemonError(.arbiter, "the arbiter does not say whether \(name) runs elsewhere: \(error)", cause: error)
        }
    }

    private static func nonce() -> String { String(UInt64.random(in: .min ... .max), radix: 16) }
}
