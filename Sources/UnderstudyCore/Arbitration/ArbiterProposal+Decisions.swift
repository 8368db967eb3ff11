// SPDX-License-Identifier: Apache-2.0

/// Every decision that the protocol knows. `nonce` is always a fresh one without a slash, see ``NonceSequence``.
extension ArbiterProposal {
    /// The first record of a virtual machine: the owner runs it without a backup.
    public static func create(owner: String, nonce: String) -> ArbiterProposal {
        let record = ArbiterRecord(generation: 1, owner: owner, backup: nil, nonce: nonce, confirmed: true)
        return ArbiterProposal(expected: nil, proposed: record)
    }

    /// The owner of `current` lets `backup` take over; `nonce` names the session. Whatever backup was permitted before is shut out.
    public static func permitBackup(_ backup: String, current: ArbiterRecord, nonce: String) -> ArbiterProposal {
        var record = current
        record.backup = backup
        record.nonce = nonce
        return ArbiterProposal(expected: current, proposed: record)
    }

    /// The permitted backup takes the next generation. `committed` is the record in which its state was committed, never a newer one.
    public static func takeOver(committed: ArbiterRecord, by backup: String, nonce: String) -> ArbiterProposal {
        let record = ArbiterRecord(
            generation: committed.generation &+ 1, owner: backup, backup: nil, nonce: "\(committed.nonce)/\(nonce)", confirmed: false)
        return ArbiterProposal(expected: committed, proposed: record)
    }

    /// The owner of the unconfirmed record `current` says that its guest runs.
    public static func confirm(_ current: ArbiterRecord) -> ArbiterProposal {
        var record = current
        record.confirmed = true
        return ArbiterProposal(expected: current, proposed: record)
    }

    /// The owner of `current` goes on without a backup.
    public static func goSolo(from current: ArbiterRecord, nonce: String) -> ArbiterProposal {
        let record = ArbiterRecord(
            generation: current.generation &+ 1, owner: current.owner, backup: nil, nonce: nonce, confirmed: true)
        return ArbiterProposal(expected: current, proposed: record)
    }

    /// The winner of a takeover, whose guest never ran, gives the guest back to the host that still holds the good copy.
    public static func handBack(takenOver: ArbiterRecord, to host: String, nonce: String) -> ArbiterProposal {
        let record = ArbiterRecord(
            generation: takenOver.generation &+ 1, owner: host, backup: nil, nonce: "\(takenOver.nonce)/\(nonce)", confirmed: false)
        return ArbiterProposal(expected: takenOver, proposed: record)
    }

    /// The owner ends protection: the key is deleted.
    public static func end(_ current: ArbiterRecord) -> ArbiterProposal {
        ArbiterProposal(expected: current, proposed: nil)
    }

    /// A restarted daemon that finds itself the owner of `current` and its gate closed. Returns nil if the record does not allow it:
    /// it belongs to another host, or it is an unconfirmed takeover whose guest may never have run.
    public static func reopen(_ current: ArbiterRecord, by host: String, nonce: String) -> ArbiterProposal? {
        guard current.owner == host else { return nil }
        if current.isHandBack(to: host) { return confirm(current) }
        return current.confirmed ? goSolo(from: current, nonce: nonce) : nil
    }
}
