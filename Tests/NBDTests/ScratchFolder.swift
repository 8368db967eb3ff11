import Glibc

/// A folder that goes with the test.
final class ScratchFolder: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/understudy-nbd.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestFailure("mkdtemp failed") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { _ = try? Tool.run("rm -rf \(path)") }

    /// A file of random bytes.
    func randomFile(_ name: String, byteCount: Int, seed: UInt64) throws -> (path: String, bytes: [UInt8]) {
        var random = SeededGenerator(seed: seed)
        var bytes = [UInt8](repeating: 0, count: byteCount)
        for index in stride(from: 0, to: byteCount, by: 8) {
            let number = random.next()
            for place in index..<min(byteCount, index + 8) { bytes[place] = UInt8(truncatingIfNeeded: number >> (8 * (place - index))) }
        }
        let file = "\(path)/\(name)"
        let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw TestFailure("cannot make \(file)") }
        defer { close(descriptor) }
        guard write(descriptor, bytes, byteCount) == byteCount else { throw TestFailure("cannot write \(file)") }
        return (file, bytes)
    }
}

/// Equal numbers for equal seeds, so that what a seed finds is found again (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
