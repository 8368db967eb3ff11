import NBDTestExports
import Testing

@testable import NBD

/// Clients that no one here wrote.
@Suite(.serialized, .enabled(if: Tool.isInstalled("nbdinfo", "nbdcopy", "qemu-img", "qemu-io"), "needs libnbd-bin and qemu-utils"))
struct InteroperabilityTests {
    private static let size = 64 << 20

    @Test func nbdinfoUnderstandsTheExport() throws {
        let server = try TestServer([MemoryExport(name: "disk", byteCount: Self.size), RecordingExport(name: "other", isReadOnly: true)])
        let text = try Tool.run("timeout 60 nbdinfo --json \(server.uri())")
        for line in [
            #""protocol": "newstyle-fixed""#, #""structured": true"#, #""export-size": \#(Self.size)"#, #""is_read_only": false"#,
            #""can_df": true"#, #""can_fast_zero": true"#, #""can_flush": true"#, #""can_fua": true"#, #""can_multi_conn": true"#,
            #""can_trim": true"#, #""can_zero": true"#, #""block_size_maximum": 33554432"#, "base:allocation",
        ] { #expect(text.contains(line), "\(line) in \(text)") }
        #expect(try Tool.run("timeout 60 nbdinfo --list \(server.uri(""))").contains(#"export="other""#))
        #expect(try Tool.run("timeout 60 nbdinfo --is read-only \(server.uri("other"))").isEmpty)
        #expect(try Tool.result("timeout 60 nbdinfo \(server.uri("nobody"))").status != 0)
        #expect(server.reported.isEmpty, "\(server.reported)")
    }

    @Test(arguments: [1, 4]) func nbdcopyCopiesThereAndBack(connections: Int) throws {
        let folder = try ScratchFolder()
        let (path, _) = try folder.randomFile("in", byteCount: Self.size - 12345, seed: 1)
        try Tool.run("truncate -s \(Self.size) \(path)")
        let export = try FileExport(name: "disk", path: "\(folder.path)/image", byteCount: UInt64(Self.size))
        let server = try TestServer([export])
        try Tool.run("timeout 60 nbdcopy --connections=\(connections) --flush \(path) \(server.uri())")
        try Tool.run("cmp \(path) \(folder.path)/image")
        try Tool.run("timeout 60 nbdcopy --connections=\(connections) \(server.uri()) \(folder.path)/out")
        try Tool.run("cmp \(path) \(folder.path)/out")
        #expect(server.reported.isEmpty, "\(server.reported)")
    }

    @Test func holesAreSeenAndCopiedAsHoles() throws {
        let folder = try ScratchFolder()
        try Tool.run("truncate -s \(Self.size) \(folder.path)/image")
        try Tool.run("printf data | dd of=\(folder.path)/image bs=1M seek=3 conv=notrunc status=none")
        let server = try TestServer([try FileExport(name: "disk", path: "\(folder.path)/image")])
        let map = try Tool.run("timeout 60 nbdinfo --map --totals \(server.uri())")
        #expect(map.contains("hole,zero") && map.contains("data"), "\(map)")
        try Tool.run("timeout 60 qemu-img convert -n -f raw -O raw \(server.uri()) \(folder.path)/image.2 || true")
        try Tool.run("timeout 60 qemu-img convert -f raw -O qcow2 \(server.uri()) \(folder.path)/copy.qcow2")
        #expect(try Tool.run("timeout 60 qemu-img compare -f raw -F qcow2 \(server.uri()) \(folder.path)/copy.qcow2").contains("identical"))
        #expect(try Int(Tool.run("stat -c %s \(folder.path)/copy.qcow2").dropLast())! < 1 << 20)
    }

    @Test func qemuIOWritesZeroesTrimsAndReads() throws {
        let folder = try ScratchFolder()
        let server = try TestServer([try FileExport(name: "disk", path: "\(folder.path)/image", byteCount: UInt64(Self.size))])
        let commands = [
            "write -P 1 0 32M", "write -P 2 32M 32M", "read -P 1 0 32M", "write -z 1M 1M", "write -z -u 4M 1M", "read -P 0 1M 1M",
            "read -P 0 4M 1M",
            "discard 8M 1M", "write -f -P 3 10 20", "read -P 3 10 20", "flush", "aio_write -P 4 16M 8M", "aio_write -P 5 24M 8M",
            "aio_flush",
            "read -P 4 16M 8M", "read -P 5 24M 8M",
        ]
        let text = try Tool.run("timeout 60 qemu-io -f raw \(commands.map { "-c '\($0)'" }.joined(separator: " ")) \(server.uri())")
        #expect(!text.contains("failed") && !text.contains("error"), "\(text)")
        let past = try Tool.run("timeout 60 qemu-io -f raw -r -c 'write 0 1' \(server.uri()) || true")
        #expect(past.contains("failed") || past.contains("read-only") || past.contains("not permitted"), "\(past)")
        #expect(server.reported.isEmpty, "\(server.reported)")
    }

    @Test func qemuImgCompareSeesOneWrongByte() throws {
        let folder = try ScratchFolder()
        let (path, _) = try folder.randomFile("in", byteCount: 8 << 20, seed: 2)
        try Tool.run("cp \(path) \(folder.path)/image")
        let server = try TestServer([try FileExport(name: "disk", path: "\(folder.path)/image")])
        #expect(try Tool.run("timeout 60 qemu-img compare -f raw -F raw \(path) \(server.uri())").contains("identical"))
        try Tool.run("timeout 60 qemu-io -f raw -c 'write -P 9 5000001 1' -c 'write -P 8 5000001 1' \(server.uri())")
        #expect(try Tool.result("timeout 60 qemu-img compare -f raw -F raw \(path) \(server.uri())").status != 0)
    }
}
