import Glibc
import LinuxShim

/// The page that a gate's classifiers and the daemon share: whether frames pass, where they go instead, counters, and whose gate it is.
///
/// Changing the state is one store, so opening and closing take no system call and no grace period of the kernel.
/// Layout, little endian like the machine: 0 state (u32), 4 index of the IN tap (u32), 8 frames redirected (u64), 16 frames passed with
/// the mark (u64), 24 frames dropped (u64), 64 identity (128 bytes, zero padded).
final class GateMap: @unchecked Sendable {
    /// What the classifiers do with an unmarked frame.
    enum State: UInt32 {
        /// It passes.
        case open = 0
        /// It goes to the IN tap.
        case redirect = 1
        /// It is dropped.
        case shut = 2
    }

    static let stateOffset: Int16 = 0
    static let targetOffset: Int16 = 4
    static let redirectedOffset: Int16 = 8
    static let passedOffset: Int16 = 16
    static let droppedOffset: Int16 = 24
    private static let identityOffset = 64
    private static let identityBytes = 128

    let descriptor: FileDescriptor
    // SAFETY: the page lives as long as this object; words are accessed atomically, the identity is written before the map is shared.
    private let page: UnsafeMutableRawPointer

    /// A new map in the given state.
    convenience init(state: State, target: Int32 = 0, identity: String = "") throws(OutputRelayError) {
        try self.init(BPF.makeMap(name: "understudy_gate", bytes: UInt32(Self.identityOffset + Self.identityBytes)))
        for (index, byte) in identity.utf8.prefix(Self.identityBytes - 1).enumerated() {
            page.storeBytes(of: byte, toByteOffset: Self.identityOffset + index, as: UInt8.self)
        }
        understudy_store32(word(Self.targetOffset), UInt32(bitPattern: target))
        self.state = state
    }

    /// The existing map behind `descriptor`.
    init(_ descriptor: FileDescriptor) throws(OutputRelayError) {
        guard let page = understudy_map_page(descriptor.number) else { throw .kernel("mapping a gate's state", "mmap", errno) }
        self.page = page
        self.descriptor = descriptor
    }

    deinit { understudy_unmap_page(page) }

    /// What the classifiers do now. An unknown value counts as shut: it was not written by this version.
    var state: State {
        get { State(rawValue: understudy_load32(word(Self.stateOffset))) ?? .shut }
        set { understudy_store32(word(Self.stateOffset), newValue.rawValue) }
    }

    /// Frames redirected to the IN tap.
    var redirected: UInt64 { counter(Self.redirectedOffset) }

    /// Released frames that came back to the guest's tap and passed.
    var passed: UInt64 { counter(Self.passedOffset) }

    /// Frames dropped by the classifiers.
    var dropped: UInt64 { counter(Self.droppedOffset) }

    /// Whose gate this is.
    var identity: String {
        // SAFETY: inside the page, and not written after the map was shared.
        let bytes = UnsafeRawBufferPointer(start: page + Self.identityOffset, count: Self.identityBytes)
        return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }

    // SAFETY: the offsets are aligned constants of this file, inside the page.
    private func word(_ offset: Int16) -> UnsafeMutablePointer<UInt32> {
        (page + Int(offset)).assumingMemoryBound(to: UInt32.self)
    }

    // SAFETY: the offsets are aligned constants of this file, inside the page.
    private func counter(_ offset: Int16) -> UInt64 {
        understudy_load64((page + Int(offset)).assumingMemoryBound(to: UInt64.self))
    }
}
