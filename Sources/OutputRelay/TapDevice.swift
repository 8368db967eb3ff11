import Glibc
import LinuxShim

/// Opening taps.
enum TapDevice {
    /// CSUM, TSO4, TSO6, TSO_ECN, USO4 and USO6: whole segments of every kind that a guest sends.
    private static let offloads: UInt32 = 0x6f

    /// Opens the tap `name` (made when it does not exist) with virtio-net headers of 12 bytes and all offloads.
    static func open(_ name: String, multiqueue: Bool = false) throws(OutputRelayError) -> FileDescriptor {
        let number = understudy_tap_open(name, multiqueue ? 1 : 0, Int32(FrameRing.virtioHeader), offloads)
        if number == -EBUSY {
            throw OutputRelayError(
                .gateInUse, "the tap \(name) is held by another process: a second daemon protects the same guest; stop one of them")
        }
        guard number >= 0 else { throw .kernel("opening the tap \(name)", "ioctl(/dev/net/tun)", -number) }
        return FileDescriptor(number)
    }
}
