/// The guest's QEMU on the first host.
public struct LabGuest: Sendable {
    public let process: LabProcess
    /// The QMP socket's path: free for the daemon, the demo never connects to it.
    public let qmp: String
    /// The serial console's log.
    public let serial: String

    static func start(_ launch: GuestLaunch, on host: LabHost) throws(DemonstrationError) -> LabGuest {
        if !launch.disks.isEmpty, !LabFiles.exists(launch.image.diskInitramfs) {
            throw DemonstrationError(
                .prerequisiteMissing, "the guest's file \(launch.image.diskInitramfs) is missing: run scripts/make-guest")
        }
        let qmp = host.folder + "/guest.qmp"
        let serial = host.folder + "/guest.serial"
        // What an earlier guest said, or the socket that its QEMU left, must not count for this one.
        LabFiles.removeIfThere(serial)
        LabFiles.removeIfThere(qmp)
        let process = try host.spawn(launch.arguments(tap: LabAddresses.tap, qmp: qmp, serial: serial), log: "guest.log")
        return LabGuest(process: process, qmp: qmp, serial: serial)
    }

    /// Waits until the guest's service says on the serial console that it serves.
    ///
    /// - Returns: milliseconds waited.
    /// - Throws: `.process` when QEMU ended before (with the end of its output), `.timeout`.
    @discardableResult
    public func waitUntilReady(timeoutSeconds: Int = 90) throws(DemonstrationError) -> Double {
        let start = MonotonicTime.now()
        while !LabFiles.contains("UNDERSTUDY-GUEST-READY", in: serial) {
            if !process.isRunning {
                throw DemonstrationError(.process, "QEMU ended before the guest was ready: \(LabFiles.tail(of: process.log))")
            }
            if MonotonicTime.now() - start > UInt64(timeoutSeconds) * 1_000_000_000 {
                throw DemonstrationError(.timeout, "the guest was not ready within \(timeoutSeconds) s: \(LabFiles.tail(of: serial))")
            }
            MonotonicTime.sleep(milliseconds: 10)
        }
        return Double(MonotonicTime.now() - start) / 1_000_000
    }
}
