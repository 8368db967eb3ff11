import Foundation

/// Random bytes and choices that a printed seed brings back (splitmix64).
struct SeededBytes: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    mutating func bytes(_ lengths: ClosedRange<Int>) -> [UInt8] {
        let length = Int.random(in: lengths, using: &self)
        return [UInt8](unsafeUninitializedCapacity: length + 8) { buffer, count in
            var position = 0
            while position < length {
                UnsafeMutableRawPointer(buffer.baseAddress! + position).storeBytes(of: next(), as: UInt64.self)
                position += 8
            }
            count = length
        }
    }

    mutating func chance(of share: Int, in whole: Int) -> Bool { Int.random(in: 0..<whole, using: &self) < share }

    mutating func element<Value>(of values: [Value]) -> Value { values[Int.random(in: values.indices, using: &self)] }

    /// The bytes with some of them changed, taken out, doubled, cut off, or digits made extreme.
    mutating func mutated(_ original: [UInt8]) -> [UInt8] {
        var bytes = original
        for _ in 0..<Int.random(in: 1...6, using: &self) where !bytes.isEmpty {
            let position = Int.random(in: bytes.indices, using: &self)
            switch Int.random(in: 0..<6, using: &self) {
            case 0: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &self)
            case 1: bytes[position] = UInt8.random(in: 0...255, using: &self)
            case 2: bytes.remove(at: position)
            case 3: bytes.removeSubrange(position...)
            case 4:
                let end = min(bytes.count, position + Int.random(in: 1...64, using: &self))
                bytes.insert(contentsOf: bytes[position..<end], at: position)
            default: Self.exaggerate(&bytes, at: position, with: element(of: Self.extremes))
            }
        }
        return bytes
    }

    private static let extremes = ["18446744073709551615", "-9223372036854775808", "1e308", "-1", "0", "null", "\"\\u0000\"", "[[[["]

    /// Puts something extreme in the place of the next number.
    private static func exaggerate(_ bytes: inout [UInt8], at position: Int, with text: String) {
        let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
        guard let start = bytes[position...].firstIndex(where: { digits.contains($0) }) else { return }
        let end = bytes[start...].firstIndex { !digits.contains($0) } ?? bytes.endIndex
        bytes.replaceSubrange(start..<end, with: text.utf8)
    }
}

enum Seed {
    /// `UNDERSTUDY_TEST_SEED`, else drawn.
    static let ofThisRun =
        ProcessInfo.processInfo.environment["UNDERSTUDY_TEST_SEED"].flatMap { UInt64($0) } ?? .random(in: 1...999_999_999)
}
