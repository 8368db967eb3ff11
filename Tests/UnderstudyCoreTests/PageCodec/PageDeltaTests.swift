import Testing

@testable import UnderstudyCore

@Suite struct PageDeltaTests {
    @Test func `an equal page has no delta`() {
        let page = SamplePages.random(seed: 1)
        #expect(SamplePages.encode(page, against: page).0 == .unchanged)
    }

    /// Vectors of QEMU's format: what `xbzrle_decode_buffer` takes.
    @Test func `a delta has the form that QEMU knows`() {
        var page = [UInt8](repeating: 0, count: 4096)
        let zeros = page
        page[0] = 7
        #expect(SamplePages.encode(page, against: zeros).1 == [0, 1, 7])
        page[200] = 9
        #expect(SamplePages.encode(page, against: zeros).1 == [0, 1, 7, 0xC7, 1, 1, 9])
        page = zeros
        page[4095] = 3
        #expect(SamplePages.encode(page, against: zeros).1 == [0xFF, 31, 1, 3])
        page[0..<4096] = [UInt8](repeating: 5, count: 300)[...] + zeros[300...]
        #expect(SamplePages.encode(page, against: zeros).1 == [0, 0xAC, 2] + [UInt8](repeating: 5, count: 300))
    }

    @Test func `a change at any byte comes back`() {
        let reference = SamplePages.random(seed: 2)
        for position in 0..<4096 {
            var page = reference
            page[position] ^= 0x40
            let (outcome, delta) = SamplePages.encode(page, against: reference)
            #expect(outcome == .delta(delta.count) && delta.count <= 5)
            #expect(SamplePages.apply(delta, to: reference) == page)
        }
    }

    @Test func `changes of every density come back, or are too long`() {
        var generator = WireFormatGenerator(seed: 3)
        var (deltas, long) = (0, 0)
        for round in 0..<4000 {
            let reference = SamplePages.random(seed: UInt64(round))
            let page = SamplePages.changed(reference, round: round, &generator)
            switch SamplePages.encode(page, against: reference) {
            case (.unchanged, _): #expect(page == reference)
            case (.delta(let length), let delta):
                deltas += 1
                #expect(length <= PageDelta.maximumLength && length == delta.count)
                #expect(delta.withUnsafeBytes { PageDelta.isValid($0) })
                #expect(SamplePages.apply(delta, to: reference) == page)
            case (.tooLong, _):
                long += 1
                #expect(zip(page, reference).filter { $0 != $1 }.count > 300, "a sparse change has a delta")
            }
        }
        #expect(deltas > 1000 && long > 50, "\(deltas) deltas, \(long) too long")
    }

    @Test func `no more than the room is written`() {
        let reference = SamplePages.random(seed: 4)
        var page = reference
        for position in stride(from: 0, to: 4096, by: 64) { page[position] ^= 1 }
        for room in 0..<260 {
            let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: room + 64, alignment: 16)
            defer { bytes.deallocate() }
            bytes.initializeMemory(as: UInt8.self, repeating: 0xEE)
            let outcome = page.withUnsafeBytes { page in
                reference.withUnsafeBytes {
                    PageDelta.encode(
                        page.baseAddress!, against: $0.baseAddress!, into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<room]))
                }
            }
            if case .delta(let length) = outcome { #expect(length <= room) }
            #expect(bytes[room...].allSatisfy { $0 == 0xEE })
        }
    }

    @Test(
        arguments: [
            [], [0], [0, 0], [5], [5, 1], [0, 2, 1], [0, 1, 1, 0, 1, 1], [0x80], [0x80, 0x80, 1, 1], [0, 0x80, 0x80, 1],
            [0xFF, 0x1F, 2, 1, 1],
            [0xFF, 0x7F, 1, 1], [0x80, 0x20, 1, 1], [0, 1, 1, 0xFF, 0x1F, 1, 1], [0, 1, 1, 4], [0, 1, 1, 4, 0],
        ] as [[UInt8]])
    func `a malformed delta is refused`(delta: [UInt8]) {
        #expect(!delta.withUnsafeBytes { PageDelta.isValid($0) })
        var page = [UInt8](repeating: 0, count: 4096)
        #expect(!delta.withUnsafeBytes { delta in page.withUnsafeMutableBytes { PageDelta.apply(delta, to: $0.baseAddress!) } })
    }

    @Test func `whatever the bytes are, nothing outside the page is written`() {
        var generator = WireFormatGenerator(seed: 5)
        let guarded = UnsafeMutableRawBufferPointer.allocate(byteCount: 3 * 4096, alignment: 4096)
        defer { guarded.deallocate() }
        var valid = 0
        for round in 0..<50_000 {
            guarded.initializeMemory(as: UInt8.self, repeating: 0xA5)
            let delta = SamplePages.hostileDelta(round, &generator)
            let isValid = delta.withUnsafeBytes { PageDelta.isValid($0) }
            let applied = delta.withUnsafeBytes { PageDelta.apply($0, to: guarded.baseAddress! + 4096) }
            #expect(isValid == applied)
            valid += isValid ? 1 : 0
            guard round % 50 == 0 else { continue }
            #expect(guarded[..<4096].allSatisfy { $0 == 0xA5 } && guarded[8192...].allSatisfy { $0 == 0xA5 })
        }
        #expect(valid > 1000, "\(valid) of the deltas were well-formed")
    }
}

enum SamplePages {
    static func random(seed: UInt64) -> [UInt8] {
        var generator = WireFormatGenerator(seed: seed)
        return (0..<512).flatMap { _ in withUnsafeBytes(of: generator.next()) { Array($0) } }
    }

    static func encode(_ page: [UInt8], against reference: [UInt8]) -> (PageDelta.Outcome, [UInt8]) {
        var delta = [UInt8](repeating: 0, count: 4096)
        let outcome = page.withUnsafeBytes { page in
            reference.withUnsafeBytes { reference in
                delta.withUnsafeMutableBytes { PageDelta.encode(page.baseAddress!, against: reference.baseAddress!, into: $0) }
            }
        }
        guard case .delta(let length) = outcome else { return (outcome, []) }
        return (outcome, Array(delta[..<length]))
    }

    static func apply(_ delta: [UInt8], to reference: [UInt8]) -> [UInt8] {
        var page = reference
        _ = delta.withUnsafeBytes { delta in page.withUnsafeMutableBytes { PageDelta.apply(delta, to: $0.baseAddress!) } }
        return page
    }

    /// Some bytes of a page changed: single ones, words, stretches, every n-th byte, or everything.
    static func changed(_ reference: [UInt8], round: Int, _ generator: inout WireFormatGenerator) -> [UInt8] {
        var page = reference
        let count = Int.random(in: 0...(round % 7 == 0 ? 400 : 20), using: &generator)
        switch round % 5 {
        case 0: for _ in 0..<count { page[Int.random(in: 0..<4096, using: &generator)] = UInt8.random(in: 0...255, using: &generator) }
        case 1:
            for _ in 0..<count {
                let word = Int.random(in: 0..<512, using: &generator)
                for byte in word * 8..<word * 8 + 8 { page[byte] ^= 0x5A }
            }
        case 2:
            for _ in 0..<count / 4 {
                let start = Int.random(in: 0..<4096, using: &generator)
                for byte in start..<min(4096, start + Int.random(in: 1...600, using: &generator)) { page[byte] ^= 0xFF }
            }
        case 3: for byte in stride(from: count % 16, to: 4096, by: 2 + count % 40) { page[byte] ^= 1 }
        default: if count > 15 { page = random(seed: UInt64(round) + 1_000_000) }
        }
        return page
    }

    /// A well-formed delta, the same with bytes changed, cut or added, or bytes of no sense.
    static func hostileDelta(_ round: Int, _ generator: inout WireFormatGenerator) -> [UInt8] {
        guard round % 3 > 0 else {
            return (0..<Int.random(in: 0...40, using: &generator)).map { _ in UInt8.random(in: 0...255, using: &generator) }
        }
        var delta: [UInt8] = []
        for pair in 0..<Int.random(in: 1...6, using: &generator) {
            let (equal, changed) = (
                Int.random(in: pair == 0 ? 0...900 : 1...900, using: &generator), Int.random(in: 1...40, using: &generator)
            )
            delta += equal < 128 ? [UInt8(equal)] : [UInt8(equal & 127 | 128), UInt8(equal >> 7)]
            delta += [UInt8(changed)] + [UInt8](repeating: 0x11, count: changed)
        }
        guard round % 3 == 2 else { return delta }
        for _ in 0..<Int.random(in: 1...3, using: &generator) {
            switch Int.random(in: 0...2, using: &generator) {
            case 0: delta[Int.random(in: 0..<delta.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            case 1: delta.removeLast(Int.random(in: 0..<delta.count, using: &generator))
            default: delta.append(UInt8.random(in: 0...255, using: &generator))
            }
        }
        return delta
    }
}
