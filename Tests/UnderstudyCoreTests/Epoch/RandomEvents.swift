// SPDX-License-Identifier: Apache-2.0

@testable import UnderstudyCore

/// Events in no order that a peer, QEMU or an arbiter would keep.
extension Seeded {
    mutating func identity(_ record: ArbiterRecord?) -> EpochIdentity {
        EpochIdentity(
            generation: (record?.generation ?? 1) &+ (below(5) == 0 ? 1 : 0), sessionNonce: below(5) == 0 ? 8 : 7, epoch: below(6))
    }

    mutating func answer(_ request: ArbiterRequest?) -> ArbiterAnswer {
        guard case .compareAndSet(let proposal)? = request?.operation, below(4) != 0 else { return .unknown(reason: "lost") }
        switch below(4) {
        case 0: return .lost(current: record())
        case 1: return .lost(current: proposal.expected)
        default: return .won(below(8) == 0 ? record() : proposal.proposed)
        }
    }

    mutating func record() -> ArbiterRecord? {
        guard below(5) != 0 else { return nil }
        let nonces = ["n", "n/x", "n/x/y", "", "//"]
        let hosts = ["a", "b", "c"]
        return ArbiterRecord(
            generation: below(6), owner: hosts[Int(below(3))], backup: below(2) == 0 ? nil : hosts[Int(below(3))],
            nonce: nonces[Int(below(5))],
            confirmed: below(2) == 0)
    }

    mutating func primaryEvent(_ primary: PrimaryProtocol, _ request: ArbiterRequest?) -> PrimaryEvent {
        let failures: [GuestFailure] = [.exited, .noCutPoint, .storageFailed]
        let losses: [BackupLoss] = [.silent, .channelClosed, .standbyDied, .stagingLimit, .refusedEpoch(reason: "x")]
        let conditions: [BackupCondition] = [.preparing, .eligible(committed: 1), .deciding, .takingOver, .active, .unable]
        let number = below(8) == 0 ? below(9) : request?.number ?? 0
        switch below(22) {
        case 20 where below(2) == 0: return .switchoverRequested(timeout: below(400_000_000))
        case 20: return .switchoverDeclined(reason: "x")
        case 21: return .switchoverReady
        case 0: return .rehearsed
        case 1, 2: return .epochCut(primary.allowedCheckpoint ?? below(6))
        case 3: return .epochHandedToLink(below(6))
        case 4: return .checkpointAbandoned(below(6))
        case 5, 6, 7: return .acknowledged(identity(primary.record))
        case 8: return .heartbeat(conditions[Int(below(6))])
        case 9 where below(4) == 0: return .backupLost(losses[Int(below(5))])
        case 10 where below(4) == 0: return .guestFailed(failures[Int(below(3))])
        case 11 where below(4) == 0: return .guestEnded(.shutdown)
        case 12 where below(4) == 0: return .unprotectRequested
        case 13: return .takeoverDeclined(reason: "x")
        case 14: return .winnerRuns(generation: below(5))
        case 15: return .handedBack(generation: below(5))
        case 16, 17:
            return .arbiterRead(number: number, below(3) == 0 ? .unknown(reason: "x") : .record(below(2) == 0 ? primary.record : record()))
        case 18, 19: return .arbiterAnswered(number: number, answer(request))
        default: return .tick
        }
    }

    mutating func backupEvent(_ backup: BackupProtocol, _ request: ArbiterRequest?) -> BackupEvent {
        let number = below(8) == 0 ? below(9) : request?.number ?? 0
        let next = EpochIdentity(generation: 1, sessionNonce: 7, epoch: (backup.committed ?? 0) + 1)
        switch below(21) {
        case 20 where below(3) == 0: return .takeoverRequested(.switchover(epoch: below(6)))
        case 20: return .switchoverAnnounced
        case 0: return .standbyPrepared
        case 1: return .rehearsed
        case 2 where below(4) == 0: return .rehearsalFailed(reason: "x")
        case 3, 4, 5: return .epochStaged(below(2) == 0 ? next : identity(backup.record))
        case 6: return .epochTorn(identity(backup.record), reason: "x")
        case 7: return .epochApplied(below(6))
        case 8: return .heartbeat(progressAge: below(400_000_000))
        case 9 where below(3) == 0: return .takeoverRequested(.guestFailed(.exited))
        case 10 where below(3) == 0: return .primaryChannelClosed
        case 11 where below(5) == 0: return .dismissed(.wentSolo)
        case 12 where below(5) == 0: return .standbyDied(reason: "x")
        case 13: return .outOfMemory
        case 14: return .standbyActivated
        case 15: return .guestRunning
        case 16 where below(3) == 0: return .activationFailed(reason: "x")
        case 17: return .arbiterRead(number: number, .record(record()))
        case 18, 19: return .arbiterAnswered(number: number, answer(request))
        default: return .tick
        }
    }
}
