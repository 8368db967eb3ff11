import Glibc
import NBDTestExports
import Synchronization
import Testing

@testable import NBD

@Suite(.serialized) struct ClientTests {
    private func read(_ client: NBDClient, at offset: UInt64, _ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0xee, count: count)
        var span = bytes.mutableSpan
        try span.withUnsafeMutableBytes { try client.read(into: $0, at: offset) }
        return bytes
    }

    private func awaitSocket(_ path: String) throws { try Tool.eventually("a socket at \(path)") { access(path, F_OK) == 0 } }

    @Test func ourServerIsReadInLongAndShortPieces() throws {
        let folder = try ScratchFolder()
        let (path, bytes) = try folder.randomFile("image", byteCount: 20 << 20, seed: 3)
        let server = try TestServer([try FileExport(name: "disk", path: path, isReadOnly: true)])
        let client = try NBDClient(socketPath: server.path, exportName: "disk", contexts: ["base:allocation"])
        #expect(client.byteCount == 20 << 20 && client.isReadOnly && client.minimumBlockSize == 1)
        #expect(try read(client, at: 0, bytes.count) == bytes)
        #expect(try read(client, at: 1_234_567, 3_456_789) == Array(bytes[1_234_567..<1_234_567 + 3_456_789]))
        #expect(try read(client, at: client.byteCount - 1, 1) == [bytes.last!])
        #expect(try read(client, at: 5, 0) == [])
        #expect(throws: NBDError.self) { try read(client, at: client.byteCount, 1) }
        #expect(throws: NBDError.self) { try client.blockStatus(context: "qemu:dirty-bitmap:x", at: 0, length: 1) }
    }

    @Test func aFailedReadLeavesTheConnectionUsable() throws {
        let export = RecordingExport()
        let server = try TestServer([export])
        let client = try NBDClient(socketPath: server.path, exportName: "disk")
        export.state.withLock { $0.failure = .inputOutput }
        let error = #expect(throws: NBDError.self) { try read(client, at: 0, 1 << 20) }
        #expect(error?.code == .requestFailed && error?.reason == .inputOutput)
        export.state.withLock { $0.failure = nil }
        #expect(try read(client, at: 0, 1 << 20) == export.bytes)
    }

    @Test func whatTheServerDoesNotHaveIsRefused() throws {
        let server = try TestServer([RecordingExport()])
        func code(_ name: String, _ contexts: [String]) -> NBDError.Code? {
            #expect(throws: NBDError.self) { try NBDClient(socketPath: server.path, exportName: name, contexts: contexts) }?.code
        }
        #expect(code("nobody", []) == .refused)
        #expect(code("disk", ["qemu:dirty-bitmap:b0"]) == .refused)
        #expect(#expect(throws: NBDError.self) { try NBDClient(socketPath: "/no/such", exportName: "") }?.code == .connectFailed)
    }

    @Test func aCutClientStopsWaiting() throws {
        let export = RecordingExport()
        let server = try TestServer([export])
        let client = try NBDClient(socketPath: server.path, exportName: "disk")
        server.server.disconnectAll()
        #expect(throws: NBDError.self) { try read(client, at: 0, 1) }
        #expect(throws: NBDError.self) { try read(client, at: 0, 1) }
        client.cut()
    }

    @Test(.enabled(if: Tool.isInstalled("nbdkit"), "needs nbdkit"))
    func nbdkitIsReadWithItsHoles() throws {
        let folder = try ScratchFolder()
        let socket = "\(folder.path)/s"
        let nbdkit = try ChildProcess(["/usr/bin/nbdkit", "-f", "-U", socket, "data", "@0x300000 \"data\" @0x800000 0"])
        defer { nbdkit.kill() }
        try awaitSocket(socket)
        let client = try NBDClient(socketPath: socket, exportName: "", contexts: ["base:allocation"])
        #expect(client.byteCount == 0x80_0001)
        var extents: [(UInt64, NBDExtent)] = []
        try client.forEachExtent(context: "base:allocation", at: 0, length: client.byteCount) { extents.append(($0, $1)) }
        #expect(extents.map(\.1.length).reduce(0, +) == client.byteCount)
        #expect(extents.contains { $0.1.isHole && $0.1.readsAsZero } && extents.contains { !$0.1.isHole })
        let bytes = try read(client, at: 0, Int(client.byteCount))
        #expect(bytes[0x300000..<0x300004].elementsEqual("data".utf8) && bytes.filter { $0 != 0 }.count == 4)
    }

    @Test(.enabled(if: Tool.isInstalled("nbdkit"), "needs nbdkit"))
    func anErrorInMidReadIsReported() throws {
        let folder = try ScratchFolder()
        let socket = "\(folder.path)/s"
        let nbdkit = try ChildProcess([
            "/usr/bin/nbdkit", "-f", "-U", socket, "--filter=error", "memory", "64M", "error-pread=EIO", "error-pread-rate=50%",
        ])
        defer { nbdkit.kill() }
        try awaitSocket(socket)
        let client = try NBDClient(socketPath: socket, exportName: "")
        var outcomes: Set<String> = []
        for _ in 0..<40 {
            do throws(NBDError) {
                var bytes = [UInt8](repeating: 0, count: 3 << 20)
                var span = bytes.mutableSpan
                try span.withUnsafeMutableBytes { (all) throws(NBDError) in try client.read(into: all, at: 0) }
                outcomes.insert("read")
            } catch { outcomes.insert("\(error.code) \(error.reason.map { "\($0)" } ?? "")") }
        }
        #expect(outcomes == ["read", "requestFailed inputOutput"])
    }

    @Test(.enabled(if: Tool.isInstalled("qemu-nbd", "qemu-img", "qemu-io"), "needs qemu-utils"))
    func qemuNBDsDirtyBitmapIsRead() throws {
        let folder = try ScratchFolder()
        let (image, socket) = ("\(folder.path)/image.qcow2", "\(folder.path)/s")
        try Tool.run("qemu-img create -q -f qcow2 \(image) 64M && qemu-img bitmap --add -g 65536 \(image) b0")
        try Tool.run("qemu-io -c 'write -P 7 1M 100k' -c 'write -P 8 63M 1M' \(image)")
        let server = try ChildProcess(["/usr/bin/qemu-nbd", "-r", "-t", "-f", "qcow2", "-x", "disk", "-B", "b0", "-A", "-k", socket, image])
        defer { server.kill() }
        try awaitSocket(socket)
        let client = try NBDClient(socketPath: socket, exportName: "disk", contexts: ["base:allocation", "qemu:dirty-bitmap:b0"])
        var dirty: [Range<UInt64>] = []
        try client.forEachExtent(context: "qemu:dirty-bitmap:b0", at: 0, length: client.byteCount) {
            if $1.isDirty { dirty.append($0..<$0 + $1.length) }
        }
        let expected: [Range<UInt64>] = [1 << 20..<(1 << 20) + 131072, 63 << 20..<64 << 20]
        #expect(dirty == expected)
        let bytes = try read(client, at: 0, 64 << 20)
        #expect(bytes[1 << 20..<(1 << 20) + 102400].allSatisfy { $0 == 7 } && bytes[(63 << 20)...].allSatisfy { $0 == 8 })
        #expect(bytes.filter { $0 != 0 }.count == 102400 + (1 << 20))
    }
}
