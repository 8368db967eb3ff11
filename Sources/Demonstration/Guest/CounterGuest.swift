/// The counting firmware of `Guests/counter` as a guest on the first host: no Linux, so it runs wherever /dev/kvm runs anything.
///
/// It broadcasts a frame at the end of each round of counting, has no address and takes no frames in.
public struct CounterGuest: Sendable {
    public let process: LabProcess
    /// The QMP socket's path.
    public let qmp: String

    /// What `FrameSniffer` shall keep of each frame: its type, "UCNT", the count and the value mixed from it.
    public static let keptBytes = 12..<26

    /// The firmware, as `scripts/make-guest` leaves it in the cache folder.
    public static func firmware(in folder: String = GuestImage.cacheFolder) -> String { folder + "/counter/counter.bin" }

    /// Starts the guest and waits for its first rounds.
    ///
    /// - Parameter accelerator: QEMU's `-accel`.
    /// - Throws: `.prerequisiteMissing` when the firmware was not made yet, `.process`, `.timeout`.
    public static func start(
        in lab: Lab, qemu: String = "qemu-system-x86_64", accelerator: String = "kvm"
    ) throws(DemonstrationError) -> CounterGuest {
        guard LabFiles.exists(firmware()) else {
            throw DemonstrationError(.prerequisiteMissing, "the guest's file \(firmware()) is missing: run scripts/make-guest")
        }
        let (serial, qmp) = ("\(lab.host1.folder)/guest.serial", "\(lab.host1.folder)/guest.qmp")
        let process = try lab.host1.spawn(
            [
                qemu, "-machine", "q35", "-accel", accelerator, "-m", "16", "-nodefaults", "-display", "none", "-bios", firmware(),
                "-netdev", "tap,id=net0,ifname=\(LabAddresses.tap),script=no,downscript=no",
                "-device", "ne2k_isa,netdev=net0,mac=\(LabAddresses.guestMAC)",
                "-qmp", "unix:\(qmp),server=on,wait=off", "-serial", "file:\(serial)",
            ], log: "guest.log")
        let end = MonotonicTime.now() + 60_000_000_000
        while !LabFiles.contains("count ", in: serial) {
            guard process.isRunning else {
                throw DemonstrationError(.process, "QEMU ended before the guest counted: \(LabFiles.tail(of: process.log))")
            }
            guard MonotonicTime.now() < end else { throw DemonstrationError(.timeout, "the guest did not count within a minute") }
            MonotonicTime.sleep(milliseconds: 10)
        }
        return CounterGuest(process: process, qmp: qmp)
    }

    /// The counts in the guest's frames, in their order; nil when a frame's count and its mixed value do not fit, or frames were dropped.
    public static func counts(_ sighting: FrameSniffer.Sighting) -> [UInt32]? {
        guard sighting.dropped == 0 else { return nil }
        var counts: [UInt32] = []
        for start in stride(from: 0, to: sighting.kept.count, by: keptBytes.count) {
            let frame = sighting.kept[start..<start + keptBytes.count]
            guard frame.starts(with: [0x88, 0xb5] + Array("UCNT".utf8)) else { continue }
            func word(_ offset: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(frame[start + offset + $1]) << (8 * UInt32($1)) } }
            guard word(10) == word(6) &* 0x9e37_79b1 else { return nil }
            counts.append(word(6))
        }
        return counts
    }
}
