// SPDX-License-Identifier: Apache-2.0

@testable import UnderstudyCore

/// An epoch's records as the encoder makes them, copied out, and what they were made of.
struct SampleEpoch {
    static let blockLengths: [UInt64] = [64 << 20, 16 << 20, 4096]
    static let identity = EpochIdentity(generation: 7, sessionNonce: 0x0123_4567_89ab_cdef, epoch: 42)

    struct Page: Equatable {
        var block: UInt16
        var offset: UInt64
        var content: [UInt8]
    }

    var records: [[UInt8]] = []
    var pages: [Page] = []
    var deviceState: [UInt8] = []

    var bytes: [UInt8] { records.flatMap { $0 } }

    /// - Parameters:
    ///   - runs: block, offset and the content of each page of the run as one repeated byte.
    init(
        kind: WireMessage.EpochKind = .checkpoint, runs: [(block: UInt16, offset: UInt64, fill: [UInt8])],
        deviceState: [UInt8] = Array(repeating: 0xd5, count: 79_000)
    ) {
        var encoder = EpochEncoder()
        var records: [[UInt8]] = []
        func emit(_ pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>) { records.append(pieces.flatMap { Array($0) }) }
        encoder.begin(WireMessage.EpochBegin(identity: Self.identity, kind: kind), emit: emit)
        // One arena for all pages, since pieces are pointers into it until the flush.
        let arena = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(1, runs.reduce(0) { $0 + $1.fill.count }) * 4096, alignment: 4096)
        defer { arena.deallocate() }
        var position = 0
        for run in runs {
            let start = position
            for (index, value) in run.fill.enumerated() {
                arena[position..<position + 4096].copyBytes(from: repeatElement(value, count: 4096))
                // A page that is zero but for its last byte must not count as zero.
                if value == 1 { arena[position..<position + 4095].copyBytes(from: repeatElement(0, count: 4095)) }
                pages.append(
                    Page(block: run.block, offset: run.offset + UInt64(index * 4096), content: Array(arena[position..<position + 4096])))
                position += 4096
            }
            encoder.append(
                block: run.block, offset: run.offset, pages: UnsafeRawBufferPointer(rebasing: arena[start..<position]), emit: emit)
        }
        deviceState.withUnsafeBytes { encoder.deviceState($0, emit: emit) }
        encoder.end(emit: emit)
        self.records = records
        self.deviceState = deviceState
    }

    /// A few hundred pages of two blocks with zero pages among them.
    static func ordinary() -> SampleEpoch {
        SampleEpoch(runs: [
            (0, 0, [1, 0, 2, 3, 0, 0, 4]),
            (0, 1 << 20, Array(repeating: 9, count: 40)),
            (1, 16 << 12, (0..<100).map { UInt8($0 % 3) }),
            (0, (64 << 20) - 4096, [5]),
            (2, 0, [0]),
        ])
    }
}

extension StagedEpoch {
    /// The pages copied out.
    var copiedPages: [SampleEpoch.Page] {
        pages.map { page in
            var content = [UInt8](repeating: 0, count: 4096)
            switch page.content {
            case .zero: break
            case .whole(let bytes): content = Array(UnsafeRawBufferPointer(start: bytes, count: 4096))
            // The sample's deltas are against nothing but zeros.
            case .delta(let delta): content.withUnsafeMutableBytes { _ = PageDelta.apply(delta, to: $0.baseAddress!) }
            }
            return SampleEpoch.Page(block: page.block, offset: page.offset, content: content)
        }
    }
}

/// A small generator with a seed, so that a failing case can be run again.
struct WireFormatGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}

func stagedEpoch<Result>(_ bytes: [UInt8], _ body: (StagedEpoch) throws -> Result) throws -> Result {
    try bytes.withUnsafeBytes { try body(StagedEpoch(verifying: $0, blockLengths: SampleEpoch.blockLengths)) }
}
