internal import Foundation
internal import HostAPI
internal import UnderstudyCore

/// What a machine's standby needs of its host's memory. Pages that are zero take none, so what the guest has touched so far counts for what is
/// needed now, and its whole RAM for what it may come to.
struct StandbyMemory: Equatable {
    /// Bytes that the standby takes at once: what the guest holds now, one staged epoch, and QEMU's own.
    let atOnce: UInt64
    /// Bytes in the worst case: the guest touches all of its RAM, while the rehearsal's throwaway QEMU holds a second copy.
    let atWorst: UInt64

    /// A QEMU's own memory beside the guest's, in bytes.
    private static let overhead: UInt64 = 128 << 20
    /// No host has more; whatever a peer names beyond cannot be had either.
    private static let most: UInt64 = 1 << 56

    /// - Parameters:
    ///   - ram: the machine's blocks.
    ///   - resident: bytes of memory that its QEMU holds on the primary now.
    init(ram: [RAMBlock], resident: UInt64, stagingMebibytes: Int) {
        let whole = ram.reduce(UInt64(0)) { sum, block in min(Self.most, sum + min(block.usedLength, Self.most)) }
        let staging = UInt64(max(0, min(stagingMebibytes, 1 << 20))) << 20
        atOnce = min(resident, whole) + staging + Self.overhead
        atWorst = 2 * (whole + Self.overhead) + staging
    }

    /// Failed when the guest as it is does not fit, a warning when it might not fit one day.
    func judge(_ available: UInt64) -> CheckReport.State {
        available < atOnce ? .failed : available < atWorst ? .warning : .ok
    }

    func sentence(_ available: UInt64) -> String {
        "\(available >> 20) MiB are free; the standby takes \(atOnce >> 20) MiB at once and up to \(atWorst >> 20) MiB while it is rehearsed"
    }

    static let remedy = "free memory on the backup, or take a smaller machine: its standby would be killed for want of memory"

    /// Bytes that a process holds in memory, huge pages included; 0 when it is gone.
    static func resident(of process: Int32) -> UInt64 {
        guard let text = try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8) else { return 0 }
        return resident(in: text)
    }

    static func resident(in text: String) -> UInt64 {
        text.split(separator: "\n").filter { $0.hasPrefix("VmRSS:") || $0.hasPrefix("HugetlbPages:") }.reduce(UInt64(0)) { sum, line in
            sum + (line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap { UInt64($0) } ?? 0) * 1024
        }
    }
}
