import Foundation

/// Numbers that a printed seed brings back (splitmix64).
struct SeededNumbers: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    /// The seed of this test run: `UNDERSTUDY_TEST_SEED`, else drawn.
    static let seedOfThisRun = number("UNDERSTUDY_TEST_SEED") ?? UInt64.random(in: 1...999_999_999)

    /// A number from the environment.
    static func number(_ name: String) -> UInt64? { ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) } }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}
