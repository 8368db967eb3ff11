// SPDX-License-Identifier: Apache-2.0

/// A guest that ran here alone goes on alone when it could not be protected again.
///
/// Its gate is open and has never been closed in this session, so no backup holds a complete epoch of it and none can take over: nothing
/// needs to be decided before the guest goes on. A permission that the arbiter may hold for the backup is withdrawn meanwhile.
extension PrimaryProtocol {
    /// - Parameter previous: the record under which the guest ran alone before.
    public mutating func goOnAlone(since previous: ArbiterRecord, now: UInt64) -> [PrimaryAction] {
        guard guest == .present else { return ignored("going on alone") }
        switch state {
        case .idle, .registering, .synchronising, .ended(.cancelled), .ended(.refused): break
        default: return ignored("going on alone")
        }
        let wasAsked = state != .idle
        // A permission that was under way shows in what is read from now on.
        conversation.close()
        record = record ?? previous
        flight = nil
        wantedEnd = nil
        gateOpened = true
        return [.openGate, .dismissBackup(.cancelled)] + enter(.solo) + (wasAsked ? [.askArbiter(conversation.read())] : [])
    }

    /// What the arbiter holds while the guest runs here alone.
    mutating func readAlone(_ current: ArbiterRecord?) -> [PrimaryAction] {
        guard let current else { return [] }
        guard current.owner == configuration.host, current.confirmed else { return [.report(.refused(current))] }
        record = current
        guard current.backup != nil else { return [.report(.recordRenewed)] }
        return [.askArbiter(conversation.decide(.goSolo(from: current, nonce: nonces.next())))]
    }

    /// The permission is withdrawn.
    mutating func wonAlone(_ current: ArbiterRecord) -> [PrimaryAction] {
        record = current
        return [.report(.recordRenewed)]
    }
}
