internal import HostAPI
internal import Hypervisor
internal import UnderstudyCore

/// A guest that this host took over: what its new primary's session begins with.
struct TakenOverMachine: Sendable {
    var name: String
    /// The host that ran it before, and the natural next backup.
    var formerPrimary: String
    /// The confirmed record of the takeover.
    var record: ArbiterRecord
    /// The QEMU, when this very daemon started it.
    var process: StandbyProcess?
    var qmp: String
    var pid: Int32
    /// The taps of its network cards.
    var taps: [String]
    /// The images of its disks.
    var disks: [String]
    /// The epoch from which the guest went on.
    var epoch: UInt64
    var times: TakeoverTimes?
    var version: String
    /// The length of an epoch with which it was protected, as far as that is known.
    var intervalMilliseconds: Double
    /// Protect it again by the host that ran it before.
    var protectBack: Bool
    /// Both hosts see the same images of its disks; nil when that is not known.
    var sharedDisks: Bool? = nil
    /// The images that its former primary left behind.
    var formerDisks: FormerDisks?
    /// Nanoseconds between the epoch from which the guest went on and its first instant here.
    var clockLost: UInt64 = 0
}
