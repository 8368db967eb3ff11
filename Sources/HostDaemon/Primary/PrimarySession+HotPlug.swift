internal import HostAPI
internal import Hypervisor
internal import Logging

/// A machine whose devices changed while it was protected.
extension PrimarySession {
    /// Compares the devices with those that were protected, and begins protection anew when they are others: with a standby of what the
    /// machine is now, and a rehearsal of it. Protection that was lost for another reason stays lost.
    func protectChangedMachine() {
        mayHaveChanged = false
        guard let machine, let qmp else { return }
        let now: [Device]
        do throws(HypervisorError) { now = try MachineDescription.pluggedDevices(of: qmp) } catch {
            report("not-examined", "whether the machine changed cannot be seen: \(error.message); protect it again", level: .warning)
            return
        }
        let before = machine.pluggedDevices
        let added = now.filter { !before.contains($0) }
        let gone = before.filter { !now.contains($0) }
        guard !added.isEmpty || !gone.isEmpty else { return }
        let what = [("plugged in", added), ("taken out", gone)].filter { !$0.1.isEmpty }.map { word, devices in
            "\(word): \(devices.map { "\($0.name) (\($0.type))" }.joined(separator: ", "))"
        }
        report(
            "devices-changed",
            "the machine is another one than that which was protected (\(what.joined(separator: "; "))): protecting it again as it is now",
            level: .warning)
        context.protectAgain(self, context)
    }
}
