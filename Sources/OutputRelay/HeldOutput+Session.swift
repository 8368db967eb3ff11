import Glibc
import Synchronization
import UnderstudyCore

/// What the session does with the held frames.
extension HeldOutput {
    /// What the gate does now.
    var phase: OutputLedger.Phase { intake.withLock { $0.ledger.phase } }

    /// Closes the gate.
    func close(withoutCommit: Bool) throws(OutputRelayError) {
        try intake.withLock { intake throws(OutputRelayError) in
            try change(&intake.ledger) { ledger throws(OutputLedgerError) in try ledger.close(withoutCommit: withoutCommit) }
            gate.state = .redirect
        }
    }

    /// Reads until nothing is left, but at most `limit` frames, and tags everything with `epoch`.
    func seal(epoch: UInt64, limit: Int) throws(OutputRelayError) -> SealedOutput {
        let sealed = try intake.withLock { intake throws(OutputRelayError) in
            let reading = receive(limit: limit, &intake)
            if case .broken(let number) = reading, intake.input != nil {
                throw .kernel("reading held frames from the IN tap", "read", number)
            }
            return try change(&intake.ledger) { ledger throws(OutputLedgerError) in
                try ledger.seal(epoch: epoch, overflowed: reading != .drained)
            }
        }
        if phase == .forwarding { _ = try sendReleasable() }
        return sealed
    }

    /// Takes the newest seal back.
    func withdrawSeal(epoch: UInt64) throws(OutputRelayError) {
        try intake.withLock { intake throws(OutputRelayError) in
            try change(&intake.ledger) { ledger throws(OutputLedgerError) in try ledger.withdraw(epoch: epoch) }
        }
    }

    /// Lets epochs up to `epoch` leave.
    func release(through epoch: UInt64) throws(OutputRelayError) -> ReleasedOutput {
        try intake.withLock { intake throws(OutputRelayError) in
            try change(&intake.ledger) { ledger throws(OutputLedgerError) in try ledger.commit(through: epoch) }
        }
        return try sendReleasable()
    }

    /// Lets everything leave and opens the gate.
    func open() throws(OutputRelayError) -> ReleasedOutput {
        var released = try sendEverything()
        awaitDelivery()
        gate.state = .open
        do throws(OutputRelayError) {
            // Where the guest was not stopped, frames have come in since; they leave now, at worst behind one that passed by itself.
            repeat { released.add(try sendEverything()) } while try !openEmpty()
        } catch {
            gate.state = .redirect
            throw error
        }
        return released
    }

    /// Ends the holding where nothing is held any more; false where something is.
    private func openEmpty() throws(OutputRelayError) -> Bool {
        try intake.withLock { intake throws(OutputRelayError) in
            guard intake.ledger.heldFrames == 0 else { return false }
            try change(&intake.ledger) { ledger throws(OutputLedgerError) in try ledger.open() }
            return true
        }
    }

    /// Drops everything held; a closed gate stays closed.
    func drop() {
        outlet.withLock { _ in
            intake.withLock { intake in
                if intake.ledger.phase == .closed || intake.ledger.phase == .forwarding { gate.state = .shut }
                intake.ledger.abandon()
            }
        }
    }

    /// Closes the taps. The reader has ended.
    func closeTaps() {
        outlet.withLock { $0.output = nil }
        intake.withLock { $0.input = nil }
    }

    /// The relay's numbers.
    func statistics(dropped: UInt64) -> OutputRelayStatistics {
        outlet.withLock { outlet in
            intake.withLock { intake in
                let ledger = intake.ledger
                let oldest = ledger.heldFrames > 0 ? ring.time(at: ledger.tail) : nil
                let now = MonotonicClock.now()
                return OutputRelayStatistics(
                    heldFrames: ledger.heldFrames, heldBytes: ledger.heldBytes, releasedFrames: outlet.frames, releasedBytes: outlet.bytes,
                    droppedFrames: dropped, refusedFrames: outlet.refused,
                    undeliveredFrames: outlet.frames - min(outlet.frames, gate.passed), oldestHeldAge: oldest.map { now - min(now, $0) },
                    lastReleaseTime: outlet.lastRelease, holdTimes: outlet.holdTimes)
            }
        }
    }

    private func sendEverything() throws(OutputRelayError) -> ReleasedOutput {
        var released = ReleasedOutput()
        var reading = Reading.more
        repeat {
            reading = try intake.withLock { intake throws(OutputRelayError) in
                let reading = receive(limit: 4096, &intake)
                try change(&intake.ledger) { ledger throws(OutputLedgerError) in try ledger.commitEverything() }
                return reading
            }
            released.add(try sendReleasable())
            if case .broken(let number) = reading { throw .kernel("reading held frames from the IN tap", "read", number) }
        } while reading != .drained
        return released
    }

    /// The kernel hands released frames over in a soft interrupt, mostly at once: waits up to 100 ms until all have passed, so that no
    /// frame that passes by itself overtakes them.
    private func awaitDelivery() {
        for _ in 0..<500 {
            if statistics(dropped: 0).undeliveredFrames == 0 { return }
            usleep(200)
        }
    }

    /// An event of the ledger, whose refusal becomes this module's error.
    private func change<Result>(
        _ ledger: inout OutputLedger, _ event: (inout OutputLedger) throws(OutputLedgerError) -> Result
    ) throws(OutputRelayError) -> Result {
        do throws(OutputLedgerError) {
            return try event(&ledger)
        } catch {
            throw OutputRelayError(.illegalTransition, "\(error)", cause: error)
        }
    }
}
