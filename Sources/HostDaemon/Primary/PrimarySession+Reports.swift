internal import HostAPI
internal import Logging
internal import Synchronization
internal import UnderstudyCore

/// What the protocol says of itself, as states, events and words for the operator.
extension PrimarySession {
    func tell(_ report: PrimaryReport) throws(HostDaemonError) {
        switch report {
        case .stateChanged(let state): try entered(state)
        case .committed(let epoch): if epoch == 1 { protected() }
        case .backupLost(let loss):
            lossMessage = loss.sentence
            if case .refusedEpoch = loss { mayHaveChanged = true }
            self.report("backup-lost", "lost the backup: \(loss.sentence)", level: .error)
        case .guestFailed(let failure): self.report("guest-failed", failure.sentence, level: .error)
        case .guestEnded: self.report("ending", "the guest ended; protection ends with it")
        case .arbiterUnreachable(let reason):
            publish(nil, "the arbiter does not answer: \(reason)")
            self.report("arbiter-unreachable", "the arbiter does not answer, nothing is decided before it does: \(reason)", level: .error)
        case .ownPause(let nanoseconds):
            self.report("own-pause", "this daemon stood still for \(nanoseconds / 1_000_000) ms", level: .warning)
        case .staleAcknowledgement(let identity):
            self.report("stale", "ignored an acknowledgement of epoch \(identity.epoch)", level: .debug)
        case .takeoverDeclined(let reason):
            self.report("takeover-declined", "\(request.backup) does not take over: \(reason)", level: .error)
        case .switchoverRefused(let reason): failSwitchover(.refused, "\(name) cannot be switched over: \(reason)")
        case .switchoverCancelled(let reason): switchoverCancelled(reason)
        case .recordMissing:
            fail(
                .arbiter,
                "the arbiter has no record of \(name) any more: the guest stays held. If it runs nowhere else, end it and start it anew")
        case .refused(let record):
            fail(
                .arbiter, "the arbiter says that \(record.owner) owns \(name) in generation \(record.generation): unprotect it there first")
        case .recordRenewed:
            saveRecord()
            publish { $0.generation = core.record?.generation ?? $0.generation }
        case .ignored(let what): self.report("ignored", what, level: .debug)
        }
    }

    private func fail(_ code: HostDaemonError.Code, _ message: String) {
        report("refused", message, level: .error)
        shared.withLock { shared in
            shared.error = HostDaemonError(code, message)
            shared.status.message = message
        }
    }

    func entered(_ state: PrimaryState) throws(HostDaemonError) {
        publish { $0.generation = core.record?.generation ?? $0.generation }
        switch state {
        case .idle, .registering, .synchronising, .rehearsed: break
        case .protected(0): publish(.synchronising, "waiting for the first committed epoch")
        case .protected: publish(.protected, protectedMessage)
        case .switchingOver: heldForSwitchover()
        case .deciding:
            publish(.deciding, "asking the arbiter whether this host may go on alone; the output waits")
            report("deciding", "asking the arbiter whether this host may go on alone; the output waits", level: .warning)
        case .handingOver(let reason):
            publish(.deciding, "\(reason.sentence); \(request.backup) was asked to take over")
            if case .guestFailed(let failure) = reason {
                failSwitchover(.guest, "\(name) failed before it was moved (\(failure.sentence)); \(request.backup) was asked to take over")
            }
        case .solo:
            publish(
                .unprotected, "runs here WITHOUT a backup: protect it again with `understudy protect \(name) --backup \(request.backup)`")
            report("unprotected", "the guest runs on here without a backup", level: .warning)
            saveRecord()
            letGoOfBackup()
            failSwitchover(
                .peer,
                "\(name) was not switched over: its guest runs on here WITHOUT a backup. See `understudy events`, then protect it again")
        case .holding, .confirming:
            publish(.lost, "the guest is kept stopped and gated until the arbiter's record tells who runs it")
            report("holding", "the guest is kept stopped and gated until the arbiter's record tells who runs it", level: .warning)
        case .ending: publish(.deciding, "protection ends; waiting for the arbiter")
        case .ended(let outcome): ended(outcome)
        }
    }

    private func protected() {
        publish(.protected, protectedMessage) { $0.synchronisation = nil }
        report("protected", "the guest is protected by \(request.backup)", fields: ["generation": "\(core.record?.generation ?? 0)"])
    }

    var protectedMessage: String { "protected by \(request.backup): the death of this host would be survived" }

    private func ended(_ outcome: PrimaryOutcome) {
        let message =
            switch outcome {
            case .cancelled: "protection was not established; the guest runs on as before"
            case .refused: shared.withLock { $0.error?.message } ?? "the arbiter refused protection"
            case .unprotected: "no longer protected; the guest runs on"
            case .guestEnded: "the guest ended; nothing is protected any more"
            case .takenOver: "\(request.backup) runs the machine; the old guest here was ended"
            case .guestLost: "the guest is lost: its QEMU failed and nobody could take over. Start the machine anew"
            }
        publish(.ended, message) { [.guestEnded, .takenOver, .guestLost].contains(outcome) ? $0.qemu = nil : () }
        report("ended", message)
        switch outcome {
        case .takenOver: markDisks(.copy)
        case .unprotected, .guestEnded, .guestLost: markDisks(.newest)
        case .cancelled, .refused: break
        }
        if outcome == .takenOver { switchedOver() }
    }
}
