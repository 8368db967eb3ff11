import AllocationCounter
import Glibc
import NBDTestExports
import Testing

@testable import NBD

@Suite(.serialized) struct AllocationTests {
    /// Both ends of the connection are in this process; this end allocates nothing either.
    @Test func requestsAllocateNothing() throws {
        let server = try TestServer([MemoryExport(name: "disk", byteCount: 1 << 20)])
        let client = try RawClient(server.path, export: "disk", contexts: ["base:allocation"])
        let space = UnsafeMutableRawBufferPointer.allocate(byteCount: 28 + 65536, alignment: 16)
        defer { space.deallocate() }
        space.initializeMemory(as: UInt8.self, repeating: 0)

        func exchange(_ type: UInt16, sent: Int, received: Int, length: Int) throws {
            let start = space.baseAddress!
            start.store(bigEndian: Wire.requestMagic, at: 0)
            start.store(bigEndian: UInt16(0), at: 4)
            start.store(bigEndian: type, at: 6)
            start.store(bigEndian: UInt64(1), at: 8)
            start.store(bigEndian: UInt64(0), at: 16)
            start.store(bigEndian: UInt32(length), at: 24)
            try client.socket.send(UnsafeRawBufferPointer(rebasing: space[..<(28 + sent)]))
            try client.socket.receiveRest(into: UnsafeMutableRawBufferPointer(rebasing: space[..<received]))
        }
        func round() throws {
            try exchange(1, sent: 65536, received: 16, length: 65536)
            try exchange(0, sent: 0, received: 28 + 4096, length: 4096)
            try exchange(3, sent: 0, received: 16, length: 0)
            try exchange(4, sent: 0, received: 16, length: 4096)
            try exchange(6, sent: 0, received: 16, length: 4096)
            try exchange(7, sent: 0, received: 20 + 12, length: 4096)
        }
        for _ in 0..<10 { try round() }
        let before = allocation_count()
        for _ in 0..<1000 { try round() }
        let allocations = allocation_count() - before
        // Other threads of this process may allocate a little; one allocation per request would be 6000.
        #expect(allocations < 600, "\(allocations)")
    }

    @Test func theCounterSeesAllocations() {
        let before = allocation_count()
        let pointers = (0..<100).map { UnsafeMutableRawPointer.allocate(byteCount: 16 + $0, alignment: 8) }
        for pointer in pointers { pointer.deallocate() }
        #expect(allocation_count() - before >= 100)
    }
}
