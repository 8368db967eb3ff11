import Glibc
import NBDTestExports
import QMP
import Testing

@testable import NBD

/// QEMU's own block layer as the client, and as the server.
@Suite(.serialized, .enabled(if: !RunningQEMU.all.isEmpty && Tool.isInstalled("qemu-img"), "needs qemu-system-x86 and qemu-utils"))
struct MirrorTests {
    private static let size = 32 << 20
    private static let cases = RunningQEMU.all.flatMap { program in ["raw", "qcow2"].map { (program, $0) } }

    private func attach(_ qemu: RunningQEMU, to server: TestServer, sync: String) throws {
        try qemu.monitor.execute(
            "blockdev-add",
            arguments: [
                "driver": "nbd", "node-name": "target", "export": "disk", "server": ["type": "unix", "path": .string(server.path)],
            ])
        try qemu.monitor.execute(
            "blockdev-mirror",
            arguments: [
                "job-id": "mirror", "device": "disk", "target": "target", "sync": .string(sync), "copy-mode": "write-blocking",
                "on-target-error": "report", "filter-node-name": "filter",
            ])
        try qemu.event("BLOCK_JOB_READY")
    }

    @Test(arguments: cases) func aMirrorOfARunningDiskIsExact(program: String, format: String) throws {
        let qemu = try RunningQEMU(program, format: format, byteCount: Self.size)
        try qemu.io("write -P 1 3M 5M")
        try qemu.io("write -P 2 20000k 4k")
        let folder = try ScratchFolder()
        let replica = try FileExport(name: "disk", path: "\(folder.path)/replica", byteCount: UInt64(Self.size))
        let server = try TestServer([replica])
        try attach(qemu, to: server, sync: "full")
        for command in [
            "write -P 3 0 64k", "write -P 4 4M 1M", "write -z 5M 1M", "write -z -u 6M 1M", "discard 7M 512k", "write -P 5 31M 1M", "flush",
        ] {
            try qemu.io(command)
        }
        #expect(try qemu.diskEquals(server.uri(), format: format))
        // The negative control: one more byte on our side only.
        try Tool.run("printf x | dd of=\(folder.path)/replica bs=1 seek=12345678 conv=notrunc status=none")
        #expect(try !qemu.diskEquals(server.uri(), format: format))
        try qemu.monitor.execute("block-job-cancel", arguments: ["device": "mirror"])
        try qemu.event("BLOCK_JOB_COMPLETED")
        try qemu.monitor.execute("blockdev-del", arguments: ["node-name": "target"])
        try Tool.eventually("QEMU hung up") { server.server.connectionCount == 0 }
        #expect(server.reported.isEmpty, "\(server.reported)")
    }

    @Test(arguments: cases) func aMirrorWithoutSynchronisationSendsEveryNewWrite(program: String, format: String) throws {
        let qemu = try RunningQEMU(program, format: format, byteCount: Self.size)
        try qemu.io("write -P 1 3M 5M")
        let export = RecordingExport(byteCount: Self.size)
        let server = try TestServer([export])
        try attach(qemu, to: server, sync: "none")
        try qemu.io("write -P 7 8M 256k")
        try qemu.io("write -P 8 100k 4k")
        let bytes = export.bytes
        #expect(bytes[(8 << 20)..<(8 << 20) + (256 << 10)].allSatisfy { $0 == 7 })
        #expect(bytes[(100 << 10)..<(104 << 10)].allSatisfy { $0 == 8 })
        #expect(bytes.filter { $0 != 0 }.count == 260 << 10)
    }

    @Test(arguments: RunningQEMU.all) func aCutConnectionEndsTheMirrorAndNotTheWrite(program: String) throws {
        let qemu = try RunningQEMU(program, format: "raw", byteCount: Self.size)
        let export = RecordingExport(byteCount: Self.size)
        let server = try TestServer([export])
        try attach(qemu, to: server, sync: "none")
        try qemu.io("write -P 1 0 64k")
        server.server.disconnectAll()
        try qemu.io("write -P 2 64k 64k")
        try qemu.event("BLOCK_JOB_COMPLETED") { $0.data["error"] != nil }
        try qemu.io("read -P 1 0 64k")
        try qemu.io("read -P 2 64k 64k")
    }

    /// How the initial synchronisation reads a disk that is in use.
    @Test(arguments: RunningQEMU.all) func aRunningDisksDirtyBlocksAreRead(program: String) throws {
        let qemu = try RunningQEMU(program, format: "raw", byteCount: Self.size)
        try qemu.io("write -P 1 1M 1M")
        try qemu.monitor.execute(
            "block-dirty-bitmap-add", arguments: ["node": "bottom", "name": "b0", "granularity": 65536])
        try qemu.io("write -P 2 10M 100k")
        let path = "\(qemu.folder.path)/nbd"
        try qemu.monitor.execute("nbd-server-start", arguments: ["addr": ["type": "unix", "data": ["path": .string(path)]]])
        try qemu.monitor.execute("block-dirty-bitmap-disable", arguments: ["node": "bottom", "name": "b0"])
        try qemu.monitor.execute(
            "block-export-add",
            arguments: ["type": "nbd", "id": "export", "node-name": "bottom", "name": "disk", "writable": false, "bitmaps": ["b0"]])
        let client = try NBDClient(socketPath: path, exportName: "disk", contexts: ["base:allocation", "qemu:dirty-bitmap:b0"])
        #expect(client.byteCount == Self.size && client.isReadOnly)
        var dirty: [Range<UInt64>] = []
        try client.forEachExtent(context: "qemu:dirty-bitmap:b0", at: 0, length: client.byteCount) {
            if $1.isDirty { dirty.append($0..<$0 + $1.length) }
        }
        let expected: [Range<UInt64>] = [10 << 20..<(10 << 20) + (128 << 10)]
        #expect(dirty == expected)
        let space = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.size, alignment: 4096)
        defer { space.deallocate() }
        try client.read(into: space, at: 0)
        #expect(space[(1 << 20)..<(2 << 20)].allSatisfy { $0 == 1 } && space[(10 << 20)..<(10 << 20) + (100 << 10)].allSatisfy { $0 == 2 })
        #expect(space.filter { $0 != 0 }.count == (1 << 20) + (100 << 10))
    }
}
