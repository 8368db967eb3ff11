import QMP
import Testing

@testable import Hypervisor

/// What must hold after the standby has taken over.
enum ExactnessTakeover {
    /// The guest goes on where it was committed, without a boot, and survives a reset there, for which every ROM must be in place.
    static func goesOn(_ pair: ExactnessPair, rebooting: Bool) throws {
        let counted = pair.count(on: "serial")
        try pair.takeOver()
        try pair.wait(for: "the guest's next words in the standby") { pair.count(on: "standby.serial") > counted }
        #expect(!pair.console("standby.serial").contains(pair.guest.readyMark), "the guest went on, it did not boot")
        guard rebooting else { return }
        try pair.standby.monitor.execute("system_reset")
        try pair.wait(for: "the reboot in the standby") { pair.console("standby.serial").contains(pair.guest.readyMark) }
        #expect(pair.standby.exitStatus == nil)
    }
}
