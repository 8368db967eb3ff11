internal import UnderstudyCore

/// The protocol's values as the words that go over the control channel, and back. An unknown word gives nil.
extension BackupCondition {
    var word: String {
        switch self {
        case .preparing: "preparing"
        case .synchronising: "synchronising"
        case .rehearsed: "rehearsed"
        case .eligible: "eligible"
        case .deciding: "deciding"
        case .takingOver: "taking-over"
        case .active: "active"
        case .unable: "unable"
        }
    }

    var committed: UInt64? { if case .eligible(let epoch) = self { epoch } else { nil } }

    init?(word: String, committed: UInt64?) {
        switch word {
        case "preparing": self = .preparing
        case "synchronising": self = .synchronising
        case "rehearsed": self = .rehearsed
        case "eligible":
            guard let committed else { return nil }
            self = .eligible(committed: committed)
        case "deciding": self = .deciding
        case "taking-over": self = .takingOver
        case "active": self = .active
        case "unable": self = .unable
        default: return nil
        }
    }
}

extension GuestFailure {
    var word: String {
        switch self {
        case .exited: "exited"
        case .noCutPoint: "no-cut-point"
        case .saveDidNotEnd: "save-did-not-end"
        case .storageFailed: "storage-failed"
        }
    }

    init?(word: String) {
        switch word {
        case "exited": self = .exited
        case "no-cut-point": self = .noCutPoint
        case "save-did-not-end": self = .saveDidNotEnd
        case "storage-failed": self = .storageFailed
        default: return nil
        }
    }

    /// For the operator.
    var sentence: String {
        switch self {
        case .exited: "QEMU ended without a shutdown of the guest"
        case .noCutPoint: "QEMU hangs: it did not stop the guest in time"
        case .saveDidNotEnd: "QEMU hangs: it did not finish saving its devices in time"
        case .storageFailed: "the shared images take nothing more of what the guest wrote on this host"
        }
    }
}

extension TakeoverRequest {
    /// For the operator.
    var sentence: String {
        switch self {
        case .guestFailed(let failure): failure.sentence
        case .switchover(let epoch): "switchover on request, from epoch \(epoch) on"
        }
    }
}

extension DismissalReason {
    var word: String {
        switch self {
        case .unprotected: "unprotected"
        case .guestEnded: "guest-ended"
        case .cancelled: "cancelled"
        case .wentSolo: "went-solo"
        }
    }

    init?(word: String) {
        switch word {
        case "unprotected": self = .unprotected
        case "guest-ended": self = .guestEnded
        case "cancelled": self = .cancelled
        case "went-solo": self = .wentSolo
        default: return nil
        }
    }
}

extension BackupLoss {
    /// For the operator.
    var sentence: String {
        switch self {
        case .silent: "the backup host is silent"
        case .suspectsPrimary: "the backup believes that this host is dead and asked the arbiter"
        case .channelClosed: "the connection to the backup host ended"
        case .standbyDied: "the standby QEMU died"
        case .refusedEpoch(let reason): "the backup refused an epoch: \(reason)"
        case .stagingLimit: "one epoch changed more memory than `staging-mib` allows"
        case .rehearsalFailed(let reason): "the rehearsal failed: \(reason)"
        }
    }
}
