// SPDX-License-Identifier: Apache-2.0

/// What a backup answers before a planned move: could it take over now?
extension BackupProtocol {
    mutating func switchoverAnnounced() -> [BackupAction] {
        guard case .eligible = state else { return decline("the backup holds no complete epoch") }
        return conversation.isIdle ? [.askArbiter(conversation.read())] : []
    }

    mutating func verifiedForSwitchover(_ current: ArbiterRecord?) -> [BackupAction] {
        guard case .eligible = state else { return [] }
        guard current == configuration.record else { return decline("the backup's arbiter holds another record") }
        return [.tellPrimary(.switchoverReady)]
    }

    /// The arbiter did not answer the question that precedes a switchover. It is not asked again: no decision depends on it.
    mutating func arbiterSilent(_ reason: String?) -> [BackupAction] {
        guard conversation.topic == .read else { return [] }
        conversation.close()
        guard case .eligible = state else { return [] }
        return decline("the backup's arbiter does not answer\(reason.map { ": \($0)" } ?? "")")
    }

    private func decline(_ reason: String) -> [BackupAction] { [.tellPrimary(.switchoverDeclined(reason: reason))] }
}
