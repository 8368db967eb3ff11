/// The 16 bytes that the guest drew with getrandom(2) for one request, as two big-endian words.
public struct GuestRandom: Hashable, Sendable {
    public var high: UInt64
    public var low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}
