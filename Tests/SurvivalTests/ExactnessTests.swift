import Demonstration
import Glibc
import GuestMemory
import HostAPI
import QMP
import Testing
import UnderstudyCore

@testable import HostDaemon
@testable import Hypervisor

/// Invariant I3: at a commit the standby's RAM blocks equal the primary's at the stop, byte for byte.
///
/// The primary's blocks are read through `/proc/PID/mem` while its guest stands at the cut, the standby's after QEMU has placed the epoch; no
/// dirty set and none of the product's copies have a part in it.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct ExactnessTests {
    static let checkpoints = 240

    enum Memory: String, CaseIterable, CustomTestStringConvertible {
        case anonymous, memfd, file
        var testDescription: String { rawValue }

        var backend: GuestLaunch.MemoryBackend {
            switch self {
            case .anonymous: .anonymous
            case .memfd: .memfd
            case .file: .file(folder: "FOLDER")
            }
        }
    }

    @Test(arguments: Memory.allCases)
    func theStandbyHoldsTheMemoryOfTheCutByteForByte(memory: Memory) throws {
        try prove(ExactnessGuest.linux(memory: memory.backend), rebooting: memory == .anonymous)
    }

    @Test(.enabled(if: Requirements.qemu10 != nil, "needs UNDERSTUDY_QEMU_10, which scripts/fetch-qemu10 prints"))
    func theSameHoldsWithQEMU10() throws {
        try prove(ExactnessGuest.linux(memory: .anonymous, qemu: Requirements.qemu10!), rebooting: true)
    }

    @Test(.enabled(if: Requirements.qemu10 != nil, "needs UNDERSTUDY_QEMU_10, which scripts/fetch-qemu10 prints"))
    func anOrdinaryTakeoverLosesNothingWithQEMU10() throws {
        let pair = try ProtectedLab(qemu: Requirements.qemu10!, booting: true)
        try pair.startClients()
        try pair.protect()
        try pair.wait(seconds: 60, for: "20 committed epochs") { (pair.status(pair.daemons.first)?.epoch ?? 0) >= 20 }
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)")
    }

    @Test(.enabled(if: access("/dev/kvm", R_OK | W_OK) == 0, "needs /dev/kvm, readable and writable"))
    func theSameHoldsUnderKVM() throws {
        let guest = ExactnessGuest.counter()
        let pair = try prove(guest, rebooting: true)
        #expect(!pair.console("serial").contains("COUNTER-BROKEN"))
        #expect(!pair.console("standby.serial").contains("COUNTER-BROKEN"), "the standby's memory fits its processor's state")
    }

    /// Exact at every twentieth of hundreds of checkpoints, seen to fail when one page is withheld, and complete enough to reboot from.
    @discardableResult
    private func prove(_ guest: ExactnessGuest, rebooting: Bool) throws -> ExactnessPair {
        let pair = try ExactnessPair(guest)
        try pair.synchronise()
        let comparison = try ExactnessComparison(pair)
        var dirty: [Int] = []
        while pair.epoch < Self.checkpoints {
            let (cut, differences) = try comparison.checkpoint(comparing: (pair.epoch + 1) % 20 == 0)
            dirty.append(cut.dirtyPages)
            #expect(differences.isEmpty, "epoch \(pair.epoch): \(differences.count) pages differ, \(differences.prefix(5))")
            usleep(5_000)
        }
        #expect(comparison.count == Self.checkpoints / 20)
        dirty.sort()
        #expect(dirty[dirty.count / 2] >= 100, "the guest wrote too little for a proof: \(dirty)")

        let (withheld, differences) = try comparison.checkpointWithholdingOnePage()
        #expect(differences == [withheld], "one withheld page must be seen, and only that")
        let (_, repaired) = try comparison.checkpoint(comparing: true, adding: withheld)
        #expect(repaired.isEmpty)

        try ExactnessTakeover.goesOn(pair, rebooting: rebooting)
        print(
            "exactness:", comparison.count, "comparisons of", comparison.byteCount >> 20, "MiB in", pair.machine.ramBlocks.count,
            "RAM blocks,", dirty[dirty.count / 2], "dirty pages, QEMU", pair.machine.version.description,
            pair.machine.accelerator)
        return pair
    }
}
