import Foundation
import Glibc
import GuestMemory
import HostAPI
import Links
import QMP
import UnderstudyCore

@testable import HostDaemon
@testable import Hypervisor

/// A guest and its standby, joined by the product's own parts of a checkpoint (engine, transmission, sealed stream, receiver, standby), without
/// daemon, arbiter and relay, so that a test can look at both memories while the guest stands at its cut.
final class ExactnessPair {
    let folder: String
    let qmp: QMPClient
    let machine: MachineDescription
    let tracker: DirtyTracker
    let copier: PageCopier
    let gate: SaveGate
    let engine: CheckpointEngine
    let transmission: EpochTransmission
    let standby: StandbyProcess
    let guest: ExactnessGuest
    private(set) var epoch: UInt64 = 0
    private let primary: ExactnessProcess
    private let listener: CheckpointListener
    private let stream: SealedStream
    private let receiver: EpochReceiver
    private let events: Mailbox<EpochReceiver.Event>
    private var deviceStateBytes = 0

    private static let stagingBytes = 512 << 20
    private static let base = EpochIdentity(generation: 7, sessionNonce: 0x5EED, epoch: 0)

    /// Boots the guest, starts standby and rehearsal QEMU and joins them; nothing is copied yet.
    init(
        _ guest: ExactnessGuest, copyThreads: Int = 2, compression: CompressionMode = .auto, referenceMebibytes: Int? = nil
    ) throws {
        self.guest = guest
        let (primary, monitor) = try Self.boot(guest)
        self.primary = primary
        folder = primary.folder
        qmp = monitor
        machine = try MachineDescription.read(from: monitor)
        tracker = try DirtyTracker(pid: machine.process.id, blocks: machine.ramBlocks, helperPath: Requirements.injector)
        copier = try PageCopier(pid: machine.process.id, blocks: machine.ramBlocks, threads: copyThreads)
        gate = try SaveGate(qmp: monitor)
        engine = try CheckpointEngine(
            gate: gate, tracker: tracker, copier: copier, stagingBytes: Self.stagingBytes, limit: .seconds(20),
            faults: try FaultPoints(environment: nil))
        standby = try Self.launch(.standby, machine, folder)
        let rehearsal = try Self.launch(.rehearsal, machine, folder)
        let events = try Mailbox<EpochReceiver.Event>()
        self.events = events
        let session = try CheckpointSessionID.random()
        let key = try CheckpointSessionKey.random()
        let accepted = try Mailbox<SealedStream>()
        listener = try CheckpointListener(
            host: "127.0.0.1", port: 0, greetingLimit: .seconds(20),
            handlers: .init(key: { $0 == session ? key : nil }, accepted: { stream, _ in accepted.post(stream) }))
        stream = try SealedStream.connect(
            host: "127.0.0.1", port: listener.port, session: session, key: key, deadline: .now + .seconds(20))
        try stream.send(.hello(.init(role: .primary, base: Self.base)), deadline: .now + .seconds(20))
        transmission = try EpochTransmission(
            stream: stream, blockLengths: machine.ramBlocks.map(\.usedLength), mode: compression, referenceMebibytes: referenceMebibytes)
        let backup = try Self.next(of: accepted, "the backup's stream")
        let state = try EpochReceiver.State(
            arena: try StagingArena(byteCount: Self.stagingBytes + 8 << 20), blockLengths: machine.ramBlocks.map(\.usedLength),
            standby: standby, rehearsal: rehearsal)
        receiver = try EpochReceiver(stream: backup, state: state, base: Self.base) { events.post($0) }
    }

    /// QEMU 10.0 sometimes ends by an assertion of its own (`msix_table_mmio_write`) while a guest with several processors boots under TCG:
    /// such a boot says nothing about checkpoints, and is repeated.
    private static func boot(_ guest: ExactnessGuest) throws -> (ExactnessProcess, QMPClient) {
        var attempts = 0
        while true {
            attempts += 1
            do {
                let process = try ExactnessProcess(guest)
                let monitor = try process.connect()
                try process.wait(for: guest.readyMark, in: "serial")
                return (process, monitor)
            } catch {
                guard attempts < 3, "\(error)".contains("Assertion `") else { throw LaboratoryFailure(cause: error) }
                print("boots again: \(error)")
            }
        }
    }

    deinit {
        _ = receiver.finish()
        stream.shutdown()
        listener.stop()
        standby.kill()
        copier.stop()
        qmp.close()
        primary.end()
    }

    /// Copies all memory and rehearses: afterwards checkpoints can be taken.
    func synchronise() throws {
        for round in 0..<3 {
            let pages = try tracker.scan(into: engine.runs)
            try copier.copy(runs: engine.runs.runs, into: engine.arena.bytes.baseAddress!)
            try send(.synchronisation(round: UInt32(round)), epoch: 0, deviceStateBytes: 0)
            if pages < 4096 { break }
        }
        let cut = try self.cut()
        try send(.rehearsal, epoch: 0, deviceStateBytes: cut.deviceStateBytes)
        try expect("the rehearsal") { if case .rehearsed = $0 { true } else { false } }
    }

    /// One checkpoint from cut to applied; returns what the engine measured.
    @discardableResult
    func checkpoint(witness: (() -> Void)? = nil) throws -> CheckpointEngine.Cut {
        let cut = try self.cut(witness: witness)
        try commit(runs: engine.runs.runs, pages: UnsafeRawBufferPointer(engine.arena.bytes), deviceStateBytes: cut.deviceStateBytes)
        return cut
    }

    /// Stops the guest, copies, lets it go on; nothing is sent.
    func cut(witness: (() -> Void)? = nil) throws -> CheckpointEngine.Cut {
        let outcome = try engine.cut(seal: {}, unseal: {}, witness: witness)
        guard case .cut(let cut) = outcome else { throw SurvivalFailure("no checkpoint: \(outcome)") }
        return cut
    }

    /// Sends one epoch and waits until the standby was given all of it.
    func commit(runs: UnsafeBufferPointer<PageRun>, pages: UnsafeRawBufferPointer, deviceStateBytes: Int) throws {
        epoch += 1
        self.deviceStateBytes = deviceStateBytes
        try transmission.send(
            begin(.checkpoint, epoch), runs: runs, pages: pages,
            deviceState: UnsafeRawBufferPointer(rebasing: engine.deviceState.bytes[..<deviceStateBytes]), patience: .seconds(60))
        try expect("epoch \(epoch) staged") { if case .staged(let identity, _) = $0 { identity.epoch == epoch } else { false } }
        receiver.decide(.apply)
        try expect("epoch \(epoch) applied") { if case .applied(epoch) = $0 { true } else { false } }
    }

    private func send(_ kind: WireMessage.EpochKind, epoch: UInt64, deviceStateBytes: Int) throws {
        try transmission.send(
            begin(kind, epoch), runs: engine.runs.runs, pages: UnsafeRawBufferPointer(engine.arena.bytes),
            deviceState: UnsafeRawBufferPointer(rebasing: engine.deviceState.bytes[..<deviceStateBytes]), patience: .seconds(60))
    }

    private func begin(_ kind: WireMessage.EpochKind, _ epoch: UInt64) -> WireMessage.EpochBegin {
        WireMessage.EpochBegin(
            identity: EpochIdentity(generation: Self.base.generation, sessionNonce: Self.base.sessionNonce, epoch: epoch), kind: kind)
    }

    private func expect(_ what: String, _ matches: (EpochReceiver.Event) -> Bool) throws {
        let event = try Self.next(of: events, what)
        guard matches(event) else { throw SurvivalFailure("instead of \(what): \(event)") }
    }

    private static func next<Message>(of mailbox: Mailbox<Message>, _ what: String) throws -> Message {
        let end = ContinuousClock.now + .seconds(120)
        while ContinuousClock.now < end {
            var ready = pollfd(fd: mailbox.descriptor, events: Int16(POLLIN), revents: 0)
            _ = poll(&ready, 1, 1000)
            if let message = mailbox.take().first { return message }
        }
        throw SurvivalFailure("waited 120 s in vain for \(what)")
    }

    private static func launch(
        _ purpose: StandbyCommandLine.Purpose, _ machine: MachineDescription, _ folder: String
    ) throws -> StandbyProcess {
        let line = try StandbyCommandLine.derive(
            from: machine.process.arguments, machine: MachineFacts(machine), overrides: StandbyOverrides(outputFiles: .runtimeFolder),
            purpose: purpose, runtimeFolder: folder, name: purpose.rawValue)
        let process = try StandbyProcess.launch(line, runtimeFolder: folder, name: purpose.rawValue, timeout: .seconds(60))
        do {
            try process.begin(blocks: machine.ramBlocks, machineType: machine.machineType)
        } catch {
            process.kill()
            throw error
        }
        return process
    }
}

extension ExactnessPair {
    func primaryReader() throws -> MemoryReader { try MemoryReader(pid: machine.process.id, blocks: machine.ramBlocks) }

    /// The standby's memory, wherever this QEMU has it. Its ROMs are found by their content, so the synchronisation comes first.
    func standbyReader() throws -> MemoryReader {
        try standby.waitUntilPlaced(timeout: .seconds(60))
        let blocks = try MachineReader(qmp: standby.monitor).ramBlocks(process: standby.pid)
        return try MemoryReader(pid: standby.pid, blocks: blocks)
    }

    /// The primary dies, the standby goes on from the last committed epoch.
    func takeOver() throws {
        primary.end(keepingFolder: true)
        let state = receiver.finish()
        try state.withUnsafeBytes { _ = try standby.activate(deviceState: $0, timeout: .seconds(60)) }
        try standby.run(timeout: .seconds(60))
    }

    /// The last number that the guest counted to, on the first or on the standby's console.
    func count(on console: String) -> Int {
        primary.text(console).split(whereSeparator: \.isNewline).compactMap { line in
            line.hasPrefix(guest.countMark) ? Int(line.dropFirst(guest.countMark.count).prefix { $0.isNumber }) : nil
        }.last ?? 0
    }

    func console(_ name: String) -> String { primary.text(name) }

    func wait(for what: String, until condition: () -> Bool) throws { try primary.wait(what, until: condition) }
}
