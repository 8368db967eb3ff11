internal import Glibc
internal import GuestMemory
package import Hypervisor
internal import QMP
internal import UnderstudyCore

/// Takes checkpoints of a running guest with the product's own engine and nobody to send them to, for whoever measures the pause.
///
/// One thread at a time uses it, best the one of `onUrgentThread`, which is scheduled as a session's thread is.
package final class PauseProbe {
    /// One checkpoint, in milliseconds.
    package struct Checkpoint: Sendable {
        package var dirtyPages: Int
        /// QEMU's STOP to RESUME; nil when its clock jumped.
        package var pause: Double?
        /// From the command to the cut point, reading the page map, copying, and taking the device state.
        package var reach: Double
        package var scan: Double
        package var copy: Double
        package var drain: Double
    }

    package let machine: MachineDescription
    private let qmp: QMPClient
    private let tracker: DirtyTracker
    private let copier: PageCopier
    private let gate: SaveGate
    private let engine: CheckpointEngine
    /// Pages as `record` saw them last.
    private var references: ReferenceCache?

    private static let stagingBytes = 256 << 20
    private static let patience = Duration.seconds(20)

    /// Connects to a QEMU whose monitor is free and begins to track its memory.
    ///
    /// - Parameter injectorPath: the program `understudy-inject`.
    package init(qmpPath: String, injectorPath: String, copyThreads: Int) throws {
        qmp = try QMPClient(socketPath: qmpPath)
        machine = try MachineDescription.read(from: qmp)
        tracker = try DirtyTracker(pid: machine.process.id, blocks: machine.ramBlocks, helperPath: injectorPath)
        copier = try PageCopier(pid: machine.process.id, blocks: machine.ramBlocks, threads: copyThreads)
        gate = try SaveGate(qmp: qmp)
        engine = try CheckpointEngine(
            gate: gate, tracker: tracker, copier: copier, stagingBytes: Self.stagingBytes, limit: Self.patience,
            faults: try FaultPoints(environment: nil))
        _ = try tracker.scan(into: engine.runs)
    }

    /// QEMU's version as text.
    package var qemu: String { machine.version.description }

    /// Bytes of all RAM blocks, which every scan goes through.
    package var memoryBytes: UInt64 { machine.ramBlocks.reduce(0) { $0 + $1.usedLength } }

    /// Lets the guest and its monitor go.
    package func stop() throws {
        copier.stop()
        try tracker.stop()
        qmp.close()
    }

    /// The floor: a gated save with nothing in it, milliseconds from STOP to RESUME.
    package func bareSave() throws -> Double {
        try gate.begin()
        guard try gate.waitForCut(timeout: Self.patience) == .cut else { throw refused("QEMU refused a bare save") }
        guard let pause = try gate.drain(into: engine.deviceState.bytes, timeout: Self.patience).pauseMicroseconds else {
            throw refused("QEMU told no times of a save")
        }
        return Double(pause) / 1000
    }

    /// The other part of the floor: milliseconds to copy what is dirty now, with the guest running.
    package func readDirtyPages() throws -> Double {
        _ = try tracker.scan(into: engine.runs)
        let begun = MonotonicClock.now
        try copier.copy(runs: engine.runs.runs, into: engine.arena.bytes.baseAddress!)
        return MonotonicClock.milliseconds(MonotonicClock.now - begun)
    }

    /// Takes one checkpoint.
    package func checkpoint() throws -> Checkpoint {
        let outcome = try engine.cut(seal: {}, unseal: {})
        guard case .cut(let cut) = outcome else { throw refused("QEMU gave no checkpoint: \(outcome)") }
        return Checkpoint(
            dirtyPages: cut.dirtyPages, pause: cut.pauseMicroseconds.map { Double($0) / 1000 },
            reach: MonotonicClock.milliseconds(cut.reach), scan: MonotonicClock.milliseconds(cut.scan),
            copy: MonotonicClock.milliseconds(cut.copy), drain: MonotonicClock.milliseconds(cut.drain))
    }

    /// Takes one checkpoint and adds to a trace what has become of each changed page that an earlier call has seen.
    package func record(into trace: PageTrace) throws {
        if references == nil { references = try ReferenceCache(blockLengths: machine.ramBlocks.map(\.usedLength), mebibytes: nil) }
        _ = try checkpoint()
        guard let pages = references?.pages else { return }
        var page = UnsafeRawPointer(engine.arena.bytes.baseAddress!)
        for run in engine.runs.runs {
            for number in run.firstPage..<run.firstPage + run.count {
                let offset = UInt64(number) * UInt64(GuestPage.size)
                if case .copy(let before) = pages.known(block: run.block, offset: offset), !isZeroPage(page) { trace.add(before, page) }
                pages.keep(page, block: run.block, offset: offset)
                page += GuestPage.size
            }
        }
    }

    private func refused(_ message: String) -> HostDaemonError { HostDaemonError(.guest, message) }

    /// Runs `body` on a thread of a session's priority, which the copy threads inherit.
    package static func onUrgentThread(_ body: @escaping @Sendable () -> Void) throws(HostDaemonError) {
        try DedicatedThread(name: "session", urgent: true, body).join()
    }
}
