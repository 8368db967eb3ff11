/// Records when frames of one sender come in through given interfaces (AF_PACKET, packet(7)), with the kernel's receive times.
public final class FrameSniffer: Sendable {
    /// What was seen at one interface.
    public struct Sighting: Sendable {
        public var frames = 0
        /// Frames of anyone that the socket had no room for, known after `stop`: only with 0 does an absent frame prove anything.
        public var dropped = 0
        /// `MonotonicTime` of the first and the last frame; nil when none was seen.
        public var first: UInt64?
        public var last: UInt64?
        /// `MonotonicTime` of every frame, in order.
        public var times: [UInt64] = []
        /// The bytes of every frame that the sniffer was asked to keep, one frame's after the other's; missing ones are 0.
        public var kept: [UInt8] = []

        mutating func note(_ instant: UInt64, _ bytes: ArraySlice<UInt8>) {
            kept += bytes
            frames += 1
            first = first ?? instant
            last = instant
            times.append(instant)
        }

        /// Whether a frame passed after the instant.
        public func sawFrame(after instant: UInt64) -> Bool { last.map { $0 > instant } ?? false }
        /// The first frame after the instant.
        public func first(after instant: UInt64) -> UInt64? { times.first { $0 > instant } }
        /// The last frame at or before the instant.
        public func last(before instant: UInt64) -> UInt64? { times.last { $0 <= instant } }
    }

    private let capture: FrameCapture

    init(capture: FrameCapture) { self.capture = capture }

    /// Starts to record frames with source address `mac` that enter through `interfaces` of a namespace.
    ///
    /// - Parameters:
    ///   - mac: `xx:xx:xx:xx:xx:xx`.
    ///   - bytes: which of the first 64 bytes of each frame `Sighting.kept` collects.
    /// - Throws: `.network` when an interface is missing or a socket cannot be made.
    public static func start(
        in host: LabHost, interfaces: [String], mac: String, keeping bytes: Range<Int> = 0..<0
    ) throws(DemonstrationError) -> FrameSniffer {
        FrameSniffer(capture: try FrameCapture.start(namespace: host.namespace, interfaces: interfaces, mac: mac, keeping: bytes))
    }

    /// What was seen so far at an interface.
    public func sighting(at interface: String) -> Sighting { capture.sighting(at: interface) }

    /// Stops and closes; returns what was seen, by interface.
    @discardableResult
    public func stop() -> [String: Sighting] { capture.stop() }
}
