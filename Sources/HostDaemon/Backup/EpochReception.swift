internal import Hypervisor
internal import Links
internal import Packing
internal import UnderstudyCore

/// What the receiver's thread does: read an epoch, verify it, wait for the verdict, apply.
struct EpochReception {
    let stream: SealedStream
    let state: EpochReceiver.State
    let base: EpochIdentity
    let verdicts: Mailbox<EpochReceiver.Verdict>
    let post: @Sendable (EpochReceiver.Event) -> Void

    func run() {
        while true {
            let length: Int
            do throws(LinkError) {
                length = try stage()
            } catch {
                post(.ended(error.message))
                return
            }
            guard length > 0 else { return }
            guard take(UnsafeRawBufferPointer(rebasing: state.arena.bytes[..<length])) else { return }
        }
    }

    /// Reads records up to the end of an epoch into the arena; 0 when the epoch cannot be staged.
    private func stage() throws(LinkError) -> Int {
        var length = 0
        let arena = state.arena.bytes
        while true {
            guard arena.count - length >= WireFormat.maximumRecordLength else {
                post(.refused(identity(of: length), "the epoch is larger than the backup's `staging-mib`"))
                stream.shutdown()
                return 0
            }
            let room = UnsafeMutableRawBufferPointer(rebasing: arena[length...])
            let record = try stream.reader.read(into: room, deadline: .now + .seconds(86_400))
            do throws(WireFormatError) { length += try unpacked(room, record) } catch {
                post(.torn(identity(of: length), error.message))
                stream.shutdown()
                return 0
            }
            // The first byte of a message is its type; everything else is looked at when the epoch is whole.
            if room[0] == WireFormat.Kind.epochEnd.rawValue { return length }
        }
    }

    /// Bytes of the message that lies in `room` now.
    private func unpacked(_ room: UnsafeMutableRawBufferPointer, _ length: Int) throws(WireFormatError) -> Int {
        guard PackedRecord.isPacked(UnsafeRawBufferPointer(rebasing: room[..<length])) else { return length }
        return try state.unpacker.unpack(room, length: length)
    }

    private func identity(of length: Int) -> EpochIdentity {
        StagedEpoch.identity(ofUnfinished: UnsafeRawBufferPointer(rebasing: state.arena.bytes[..<length])) ?? base
    }

    /// Handles one whole epoch; false when the thread must end.
    private func take(_ messages: UnsafeRawBufferPointer) -> Bool {
        let epoch: StagedEpoch
        do throws(WireFormatError) {
            epoch = try StagedEpoch(verifying: messages, blockLengths: state.blockLengths)
        } catch {
            post(.torn(nil, "\(error)"))
            stream.shutdown()
            return false
        }
        let identity = epoch.begin.identity
        guard identity.generation == base.generation, identity.sessionNonce == base.sessionNonce else {
            post(.torn(identity, "the epoch belongs to another session"))
            stream.shutdown()
            return false
        }
        guard epoch.begin.kind == .checkpoint || !state.holdsCheckpoint else {
            post(.torn(identity, "memory without a checkpoint came after the first checkpoint"))
            stream.shutdown()
            return false
        }
        switch epoch.begin.kind {
        case .synchronisation: return apply(epoch)
        case .rehearsal: return apply(epoch) && rehearse(epoch)
        case .checkpoint: return commit(epoch)
        }
    }

    private func commit(_ epoch: StagedEpoch) -> Bool {
        let identity = epoch.begin.identity
        if let problem = deviceProblem(epoch) {
            post(.refused(identity, problem))
            // Nothing that comes later could be a delta against an epoch that is not applied.
            _ = waitForVerdict()
            return false
        }
        state.holdsCheckpoint = true
        post(.staged(identity, pages: Int(epoch.end.pageCount)))
        guard waitForVerdict() == .apply else { return false }
        guard apply(epoch) else { return false }
        keepDeviceState(of: epoch)
        state.committedLength = state.takenLength
        post(.applied(identity.epoch))
        return true
    }

    private func waitForVerdict() -> EpochReceiver.Verdict? {
        while true {
            if let verdict = verdicts.waitAndTake().first { return verdict }
        }
    }

    /// The devices of every epoch must be those that were rehearsed: another list means hot-plug, and a standby that could not load it.
    private func deviceProblem(_ epoch: StagedEpoch) -> String? {
        guard epoch.end.deviceStateLength > 0 else { return "a checkpoint without device state" }
        let length = stageDeviceState(of: epoch)
        do throws(DeviceStateError) {
            let summary = try state.stagedState.withUnsafeBufferPointer { bytes throws(DeviceStateError) in
                try DeviceState.summary(of: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[..<length]))
            }
            guard let rehearsed = state.rehearsedSummary else { return "a checkpoint before the rehearsal" }
            return summary.difference(from: rehearsed).map { "the machine's devices changed since the rehearsal (\($0)): protect it again" }
        } catch {
            return "the device state is not understood: \(error.message)"
        }
    }

    /// Puts the epoch's device state together; returns its length.
    private func stageDeviceState(of epoch: StagedEpoch) -> Int {
        let room = epoch.deviceStateRoom
        if state.stagedState.count < room { state.stagedState = Array(repeating: 0, count: room) }
        let (taken, length) = (state.takenState, state.takenLength)
        return taken.withUnsafeBytes { previous in
            state.stagedState.withUnsafeMutableBytes { staged in
                epoch.copyDeviceState(into: staged, previous: UnsafeRawBufferPointer(rebasing: previous[..<length]))
            }
        }
    }

    private func keepDeviceState(of epoch: StagedEpoch) {
        swap(&state.stagedState, &state.takenState)
        state.takenLength = Int(epoch.end.deviceStateLength)
    }

    private func apply(_ epoch: StagedEpoch) -> Bool {
        do throws(HypervisorError) {
            for process in [state.standby, state.rehearsal].compactMap({ $0 }) {
                for page in epoch.pages { try process.append(block: Int(page.block), offset: page.offset, content: page.content) }
                try process.flush()
            }
            return true
        } catch {
            // The standby's memory may hold a part of this epoch: no device state fits it any more, so none may be loaded.
            state.committedLength = 0
            post(.standbyFailed(error.message))
            stream.shutdown()
            return false
        }
    }

    private func rehearse(_ epoch: StagedEpoch) -> Bool {
        guard let rehearsal = state.rehearsal else {
            post(.rehearsalFailed("a second rehearsal in one session"))
            return false
        }
        let length = stageDeviceState(of: epoch)
        let problem = failure(of: rehearsal, loading: Array(state.stagedState[..<length]))
        keepDeviceState(of: epoch)
        rehearsal.kill()
        state.rehearsal = nil
        if let problem {
            post(.rehearsalFailed(problem))
            return false
        }
        post(.rehearsed)
        return true
    }

    private func failure(of rehearsal: StandbyProcess, loading bytes: [UInt8]) -> String? {
        do throws(DeviceStateError) {
            state.rehearsedSummary = try DeviceState.summary(of: bytes)
        } catch {
            return error.message
        }
        do throws(HypervisorError) {
            try bytes.withUnsafeBufferPointer { bytes throws(HypervisorError) in
                try rehearsal.rehearse(deviceState: UnsafeRawBufferPointer(bytes))
            }
            return nil
        } catch {
            return error.message
        }
    }
}
