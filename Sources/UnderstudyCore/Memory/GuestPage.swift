/// The unit of tracking, copying and sending, whatever page size backs the memory.
public enum GuestPage {
    /// 4 KiB: the target page size of QEMU's x86 migration stream.
    public static let size = 4096
}
