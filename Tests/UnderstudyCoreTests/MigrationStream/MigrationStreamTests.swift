import Testing

@testable import UnderstudyCore

@Suite struct MigrationStreamTests {
    private let blocks = [
        RAMBlock(name: "pc.ram", usedLength: 0x10000, totalLength: 0x10000, hostAddress: 0),
        RAMBlock(name: "pc.bios", usedLength: 0x4000, totalLength: 0x8000, hostAddress: 0),
    ]

    private func bytes(_ writer: MigrationPartWriter) -> [UInt8] {
        writer.segments.flatMap { Array(UnsafeRawBufferPointer(start: $0.base, count: $0.count)) }
    }

    @Test func `the opening has header, machine and block list`() throws {
        let opening = try MigrationStream.opening(machineType: "q", blocks: blocks)
        var expected: [UInt8] = Array("QEVM".utf8) + [0, 0, 0, 3, 7, 0, 0, 0, 1, 0x71, 1, 0, 0, 0, 1, 3] + Array("ram".utf8)
        expected += [0, 0, 0, 0, 0, 0, 0, 4] + [0, 0, 0, 0, 0, 1, 0x40, 4]
        expected += [6] + Array("pc.ram".utf8) + [0, 0, 0, 0, 0, 1, 0, 0] + [7] + Array("pc.bios".utf8) + [0, 0, 0, 0, 0, 0, 0x40, 0]
        expected += [0, 0, 0, 0, 0, 0, 0, 0x10, 0x7e, 0, 0, 0, 1]
        #expect(opening == expected)
    }

    @Test func `the end and the trailer are QEMU's`() {
        #expect(MigrationStream.ramEnd() == [3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x7e, 0, 0, 0, 1])
        #expect(MigrationStream.trailer == [6, 0, 0, 0, 2] + Array("{}".utf8))
    }

    @Test func `a part names each block once and writes zero pages as one byte`() throws {
        let page = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { page.deallocate() }
        page.initializeMemory(as: UInt8.self, repeating: 0xab, count: 4096)
        let writer = try MigrationPartWriter(blocks: blocks, capacity: 8)
        #expect(try writer.append(block: 0, offset: 0x1000, page: UnsafeRawPointer(page)))
        #expect(try writer.append(block: 0, offset: 0x2000, page: nil))
        #expect(try writer.append(block: 1, offset: 0x3000, page: nil))
        #expect(try writer.append(block: 1, offset: 0, page: UnsafeRawPointer(page)))
        writer.finish()
        let data = Array(repeating: UInt8(0xab), count: 4096)
        var expected: [UInt8] = [2, 0, 0, 0, 1] + [0, 0, 0, 0, 0, 0, 0x10, 0x08, 6] + Array("pc.ram".utf8) + data
        expected += [0, 0, 0, 0, 0, 0, 0x20, 0x22, 0] + [0, 0, 0, 0, 0, 0, 0x30, 0x02, 7] + Array("pc.bios".utf8) + [0]
        expected += [0, 0, 0, 0, 0, 0, 0, 0x28] + data + [0, 0, 0, 0, 0, 0, 0, 0x10, 0x7e, 0, 0, 0, 1]
        #expect(bytes(writer) == expected)
        #expect(writer.byteCount == expected.count)
        // Pages are referred to, not copied; neighbouring headers are one segment.
        #expect(writer.segments.count == 5)
        #expect(writer.segments[1].base == UnsafeRawPointer(page))
        writer.reset()
        #expect(try writer.append(block: 1, offset: 0, page: nil))
        writer.finish()
        #expect(bytes(writer)[..<14] == [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 7])
    }

    @Test func `a full part takes no more and stays within its arena`() throws {
        let page = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { page.deallocate() }
        page.initializeMemory(as: UInt8.self, repeating: 1, count: 4096)
        let writer = try MigrationPartWriter(blocks: blocks, capacity: 5)
        for round in 0..<3 {
            for index in 0..<5 { #expect(try writer.append(block: (index + round) % 2, offset: 0, page: UnsafeRawPointer(page))) }
            #expect(try !writer.append(block: 0, offset: 0, page: nil))
            writer.finish()
            #expect(bytes(writer).count == writer.byteCount)
            writer.reset()
        }
    }

    @Test func `an empty part writes nothing`() throws {
        let writer = try MigrationPartWriter(blocks: blocks, capacity: 5)
        writer.finish()
        #expect(writer.segments.isEmpty)
    }

    @Test(arguments: [(2, UInt64(0)), (-1, 0), (0, 0x10000), (0, 1), (1, 0x4000), (0, .max), (0, .max - 4095)])
    func `a page outside its block is refused`(block: Int, offset: UInt64) throws {
        let writer = try MigrationPartWriter(blocks: blocks, capacity: 5)
        #expect(throws: MigrationStreamError.self) { try writer.append(block: block, offset: offset, page: nil) }
    }

    @Test func `impossible block lists and machine types are refused`() {
        func block(_ name: String, _ length: UInt64) -> RAMBlock {
            RAMBlock(name: name, usedLength: length, totalLength: length, hostAddress: 0)
        }
        let bad: [[RAMBlock]] = [
            [], [block("", 4096)], [block("a", 0)], [block("a", 4097)], [block("a", 4096), block("a", 4096)],
            [block(String(repeating: "x", count: 256), 4096)], [block("a", 1 << 63), block("b", 1 << 63)],
        ]
        for blocks in bad {
            #expect(throws: MigrationStreamError.self) { try MigrationStream.opening(machineType: "q35", blocks: blocks) }
        }
        #expect(throws: MigrationStreamError.self) { try MigrationStream.opening(machineType: "", blocks: blocks) }
    }

    @Test func `only a complete device state is taken`() throws {
        var state = StateBuilder()
        state.add("timer", id: 5)
        let cut = state.bytes
        state.end()
        let sections = try state.bytes.withUnsafeBytes { whole in try Array(MigrationStream.deviceSections(of: whole)) }
        #expect(sections == Array(state.bytes[8...]))
        #expect(throws: MigrationStreamError.self) {
            _ = try cut.withUnsafeBytes { bytes in try Array(MigrationStream.deviceSections(of: bytes)) }
        }
    }
}
