internal import Arbiter
internal import HostAPI
internal import UnderstudyCore

/// The arbiter, tried by real decisions on a scratch key.
extension HostCheck {
    /// Nanoseconds for one decision.
    private static let timeout: UInt64 = 2_000_000_000

    var arbiter: CheckReport.Line {
        let remedy = "start etcd, or correct `arbiter` in the configuration; both hosts must reach the same one"
        return trial("arbiter", "a compare-and-set was carried out, a wrong one was refused", remedy: remedy) {
            let record = try leaveScratchRecord(at: ownKey)
            try removeScratchRecord(record, at: ownKey)
        }
    }

    /// One key for each check under way, so that two of them do not disturb each other.
    private var ownKey: String { HostContext.checkKey(of: context.configuration.name) }

    /// Decides something that concerns nobody and proves that a wrong comparison is refused.
    func leaveScratchRecord(at key: String) throws(HostDaemonError) -> ArbiterRecord {
        let record = scratchRecord()
        // Another check of this host may be under way, and an earlier one may have left its record.
        for _ in 0..<8 {
            let current = try read(key)
            let answer = context.arbiter.compareAndSet(
                key: key, proposal: ArbiterProposal(expected: current, proposed: record), timeout: Self.timeout)
            switch answer {
            case .won:
                try demandRefusal(at: key)
                return record
            case .lost: continue
            case .unknown(let reason): throw HostDaemonError(.arbiter, "a compare-and-set has no known outcome: \(reason)")
            }
        }
        throw HostDaemonError(.arbiter, "another check of this host is under way: try again")
    }

    /// A comparison with a record that was never there must be lost; an arbiter that carries it out decides nothing.
    private func demandRefusal(at key: String) throws(HostDaemonError) {
        let proposal = ArbiterProposal(expected: scratchRecord(), proposed: scratchRecord())
        switch context.arbiter.compareAndSet(key: key, proposal: proposal, timeout: Self.timeout) {
        case .lost: return
        case .won:
            throw HostDaemonError(.arbiter, "a compare-and-set succeeded although its comparison was wrong: this is no usable arbiter")
        case .unknown(let reason): throw HostDaemonError(.arbiter, "a compare-and-set has no known outcome: \(reason)")
        }
    }

    func removeScratchRecord(_ record: ArbiterRecord, at key: String) throws(HostDaemonError) {
        let proposal = ArbiterProposal(expected: record, proposed: nil)
        if case .unknown(let reason) = context.arbiter.compareAndSet(key: key, proposal: proposal, timeout: Self.timeout) {
            throw HostDaemonError(.arbiter, "the scratch record \(key) could not be removed: \(reason)")
        }
    }

    func read(_ key: String) throws(HostDaemonError) -> ArbiterRecord? {
        do throws(ArbiterError) { return try context.arbiter.read(key: key) } catch {
            throw HostDaemonError(.arbiter, error.description, cause: error)
        }
    }

    private func scratchRecord() -> ArbiterRecord {
        let nonce = String(UInt64.random(in: .min ... .max), radix: 16) + String(UInt64.random(in: .min ... .max), radix: 16)
        return ArbiterRecord(generation: 1, owner: context.configuration.name, backup: nil, nonce: nonce, confirmed: true)
    }
}
