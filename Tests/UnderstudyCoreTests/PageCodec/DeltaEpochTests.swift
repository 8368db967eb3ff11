import Testing

@testable import UnderstudyCore

/// Epochs with deltas against a model of both memories: the guest's, and the standby's, which only epochs change.
@Suite struct DeltaEpochTests {
    @Test(arguments: [0, 5, 30, 96])
    func `a standby that applies every epoch equals its primary, whatever the room for references`(room: Int) throws {
        var pair = MemoryPair(room: room, seed: UInt64(room))
        var counts = PageCounts()
        for epoch in 0..<300 {
            pair.change(epoch)
            counts += try pair.send()
            #expect(pair.primary == pair.standby, "epoch \(epoch)")
            #expect(pair.devices == pair.standbyDevices, "epoch \(epoch)")
        }
        #expect(counts.zero > 0 && counts.whole > 0)
        if room > 0 { #expect(counts.delta > 100 && counts.unchanged > 100, "\(counts)") }
    }

    @Test func `an epoch that never reached the standby shows in the next ones`() throws {
        var pair = MemoryPair(room: 96, seed: 9)
        for epoch in 0..<20 {
            pair.change(epoch)
            _ = try pair.send()
        }
        pair.change(20)
        _ = try pair.send(applying: false)
        for epoch in 21..<24 {
            pair.change(epoch)
            _ = try pair.send()
        }
        #expect(pair.primary != pair.standby, "the references were an epoch ahead of the standby, and nobody saw it")
    }

    @Test func `a changed byte is an error or a change inside the blocks`() throws {
        var pair = MemoryPair(room: 96, seed: 11)
        for epoch in 0..<6 {
            pair.change(epoch)
            _ = try pair.send()
        }
        pair.change(6)
        let bytes = pair.encode().0
        var generator = WireFormatGenerator(seed: 12)
        var refused = 0
        for _ in 0..<5_000 {
            var hostile = bytes
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                hostile[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            do {
                var copy = pair
                try copy.apply(hostile)
            } catch is WireFormatError { refused += 1 }
        }
        #expect(refused > 100, "\(refused)")
    }

    @Test func `a packed message inside an epoch is refused: it is unpacked before`() throws {
        var record = [UInt8](repeating: 0, count: 64)
        record.withUnsafeMutableBytes { PackedRecord(method: .lz4, unpackedLength: 40).write(to: $0, length: 64) }
        #expect(try record.withUnsafeBytes { try PackedRecord($0) } == PackedRecord(method: .lz4, unpackedLength: 40))
        let sample = SampleEpoch.ordinary()
        let bytes = sample.records[0] + record + sample.records[1...].flatMap { $0 }
        #expect(throws: WireFormatError.self) { try stagedEpoch(bytes) { _ in } }
    }
}

/// The guest's memory and its standby's, joined by an encoder and the bytes that it makes.
private struct MemoryPair {
    private final class Sender {
        var encoder = EpochEncoder()
        let storage: UnsafeMutableRawBufferPointer
        let references: ReferencePages

        init(room: Int) {
            storage = .allocate(byteCount: max(1, room) * 4096, alignment: 4096)
            references = ReferencePages(
                blockLengths: MemoryPair.lengths, storage: UnsafeMutableRawBufferPointer(rebasing: storage[..<(room * 4096)]))
        }

        deinit { storage.deallocate() }
    }

    static let lengths: [UInt64] = [64 * 4096, 32 * 4096]
    var primary: [[UInt8]] = lengths.map { [UInt8](repeating: 0, count: Int($0)) }
    var standby: [[UInt8]] = lengths.map { [UInt8](repeating: 0, count: Int($0)) }
    var devices = [UInt8](repeating: 3, count: 79_000)
    var standbyDevices: [UInt8] = []
    private var dirty: [(block: Int, page: Int)] = []
    private let sender: Sender
    private var generator: WireFormatGenerator

    init(room: Int, seed: UInt64) {
        sender = Sender(room: room)
        generator = WireFormatGenerator(seed: seed)
    }

    mutating func change(_ epoch: Int) {
        dirty = []
        for block in 0..<2 {
            for page in 0..<primary[block].count / 4096 where Int.random(in: 0...3, using: &generator) == 0 {
                dirty.append((block, page))
                let start = page * 4096
                switch Int.random(in: 0...5, using: &generator) {
                case 0: break
                case 1: primary[block].replaceSubrange(start..<start + 4096, with: repeatElement(0, count: 4096))
                case 2: primary[block].replaceSubrange(start..<start + 4096, with: SamplePages.random(seed: generator.next()))
                default:
                    for _ in 0..<Int.random(in: 1...30, using: &generator) {
                        primary[block][start + Int.random(in: 0..<4096, using: &generator)] &+= 1
                    }
                }
            }
        }
        devices[epoch * 97 % devices.count] &+= 1
        // Devices' states grow and shrink by a queue's entries.
        if epoch % 7 == 3 { devices += [UInt8](repeating: UInt8(epoch % 250), count: 5_000) }
        if epoch % 7 == 6 { devices.removeLast(4_900) }
    }

    mutating func send(applying: Bool = true) throws -> PageCounts {
        let (bytes, counts) = encode()
        if applying { try apply(bytes) }
        return counts
    }

    func encode() -> ([UInt8], PageCounts) {
        var records: [UInt8] = []
        func emit(_ pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>) {
            #expect(pieces.reduce(0) { $0 + $1.count } <= WireFormat.maximumRecordLength)
            for piece in pieces { records += piece }
        }
        sender.encoder.begin(WireMessage.EpochBegin(identity: SampleEpoch.identity, kind: .checkpoint), emit: emit)
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, dirty.count) * 4096, alignment: 4096)
        defer { arena.deallocate() }
        for (index, place) in dirty.enumerated() {
            let page = UnsafeMutableRawBufferPointer(rebasing: arena[index * 4096..<(index + 1) * 4096])
            page.copyBytes(from: primary[place.block][place.page * 4096..<(place.page + 1) * 4096])
            sender.encoder.append(
                block: UInt16(place.block), offset: UInt64(place.page * 4096), pages: UnsafeRawBufferPointer(page),
                references: sender.references, emit: emit)
        }
        devices.withUnsafeBytes { sender.encoder.deviceState($0, asDelta: true, emit: emit) }
        sender.encoder.end(emit: emit)
        return (records, sender.encoder.counts)
    }

    mutating func apply(_ bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { bytes in
            let epoch = try StagedEpoch(verifying: bytes, blockLengths: Self.lengths)
            for page in epoch.pages {
                standby[Int(page.block)].withUnsafeMutableBytes { memory in
                    let place = UnsafeMutableRawBufferPointer(rebasing: memory[Int(page.offset)..<Int(page.offset) + 4096])
                    switch page.content {
                    case .zero: place.initializeMemory(as: UInt8.self, repeating: 0)
                    case .whole(let content): place.copyMemory(from: UnsafeRawBufferPointer(start: content, count: 4096))
                    case .delta(let delta): PageDelta.apply(delta, to: place.baseAddress!)
                    }
                }
            }
            var state = [UInt8](repeating: 0xCC, count: epoch.deviceStateRoom)
            let length = standbyDevices.withUnsafeBytes { previous in
                state.withUnsafeMutableBytes { epoch.copyDeviceState(into: $0, previous: previous) }
            }
            standbyDevices = Array(state[..<length])
        }
    }
}
