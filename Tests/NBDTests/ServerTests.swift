import Glibc
import NBDTestExports
import Synchronization
import Testing

@testable import NBD

@Suite(.serialized) struct ServerTests {
    @Test func onlyTheOwnerMayConnectUnlessToldOtherwise() throws {
        let server = try TestServer([RecordingExport()])
        #expect(try mode(server.path) == 0o600)
        let folder = try ScratchFolder()
        let access = NBDSocketAccess(mode: 0o660, user: 12345, group: 54321)
        let open = try NBDServer(socketPath: "\(folder.path)/nbd", exports: [RecordingExport()], access: access)
        #expect(try mode(open.socketPath) == 0o660)
        if geteuid() == 0 {
            var status = stat()
            #expect(stat(open.socketPath, &status) == 0 && status.st_uid == 12345 && status.st_gid == 54321)
        }
    }

    private func mode(_ path: String) throws -> mode_t {
        var status = stat()
        guard stat(path, &status) == 0 else { throw TestFailure("no \(path)") }
        return status.st_mode & 0o7777
    }

    @Test func stopRemovesThePathAndCutsTheClients() throws {
        let server = try TestServer([RecordingExport()])
        let client = try RawClient(server.path, export: "disk")
        server.stop()
        #expect(try client.isCut())
        #expect(access(server.path, F_OK) != 0)
        #expect(throws: NBDError.self) { try StreamSocket.connect(path: server.path) }
        server.stop()
    }

    @Test func aDeadServersPathIsTakenOverAndALivingOnesIsNot() throws {
        let folder = try ScratchFolder()
        let path = "\(folder.path)/nbd"
        let first = try NBDServer(socketPath: path, exports: [RecordingExport()])
        #expect(#expect(throws: NBDError.self) { try NBDServer(socketPath: path, exports: []) }?.code == .listenFailed)
        #expect(try RawClient(path, export: "disk").isUsable())
        // As if its process had died: the path stays, and nobody listens.
        #expect(rename(path, path + ".kept") == 0)
        first.stop()
        #expect(rename(path + ".kept", path) == 0)
        let second = try NBDServer(socketPath: path, exports: [RecordingExport()])
        #expect(try RawClient(path, export: "disk").isUsable())
        second.stop()
        try Tool.run("echo precious > \(path)")
        #expect(#expect(throws: NBDError.self) { try NBDServer(socketPath: path, exports: []) }?.code == .listenFailed)
        #expect(try Tool.run("cat \(path)") == "precious\n")
    }

    @Test func anImpossiblePathIsAnError() throws {
        for path in ["/no/such/folder/nbd", "/tmp/" + String(repeating: "x", count: 200), ""] {
            #expect(#expect(throws: NBDError.self) { try NBDServer(socketPath: path, exports: []) }?.code == .listenFailed)
        }
    }

    /// A mirror that hangs in its server holds up the guest: whoever watches cuts it, while the thread cannot be reached.
    @Test func everyClientIsCutAlsoWhileTheExportHangs() throws {
        let export = RecordingExport()
        let server = try TestServer([export])
        let hanging = try RawClient(server.path, export: "disk")
        let idle = try RawClient(server.path, export: "disk")
        let writing = try RawClient(server.path, export: "disk")
        let haggling = try RawClient(server.path)
        try writing.request(1, length: 4096, payload: [1])
        try export.hanging.withLock { _ in
            try hanging.request(3)
            try Tool.eventually("the export hangs") { export.calls.contains(.flush) }
            try Tool.eventually("the write has begun") { export.held == 1 }
            server.server.disconnectAll()
            for client in [hanging, idle, writing, haggling] { #expect(try client.isCut()) }
            try Tool.eventually("only the hanging one is left") { server.server.connectionCount == 1 }
            // New clients are welcome meanwhile.
            #expect(try RawClient(server.path).option(3).last?.type == 1)
        }
        try Tool.eventually("the hanging one ends as well") { server.server.connectionCount == 0 }
        #expect(export.held == 0)
        let again = try RawClient(server.path, export: "disk")
        #expect(try again.isUsable())
    }

    @Test func oneClientTooManyIsTurnedAwayAndTheOthersStay() throws {
        let server = try TestServer([RecordingExport()])
        var clients = try (0..<NBDServer.connectionLimit).map { _ in try RawClient(server.path, export: "disk") }
        #expect(throws: NBDError.self) { try RawClient(server.path) }
        try Tool.eventually("a report") { server.reported.map(\.code) == [.refused] }
        for client in clients { #expect(try client.isUsable()) }
        clients.removeAll()
        try Tool.eventually("there is room again") { server.server.connectionCount == 0 }
        #expect(try RawClient(server.path, export: "disk").isUsable())
    }

    @Test func aClientThatNeverChoosesIsCutAndOneThatHasChosenIsNot() throws {
        let folder = try ScratchFolder()
        let server = try NBDServer(socketPath: "\(folder.path)/nbd", exports: [RecordingExport()], handshakeTimeout: .milliseconds(300))
        let chosen = try RawClient(server.socketPath, export: "disk")
        let mute = try RawClient(server.socketPath, flags: nil)
        let haggling = try RawClient(server.socketPath)
        #expect(try haggling.option(3).last?.type == 1)
        #expect(try mute.isCut())
        #expect(try haggling.isCut())
        #expect(try chosen.isUsable())
    }

    @Test func threadsAndDescriptorsDoNotPileUp() throws {
        let server = try TestServer([RecordingExport()])
        func count(_ folder: String) throws -> Int { Int(try Tool.run("ls /proc/\(getpid())/\(folder) | wc -l").dropLast())! }
        func connectOften() throws {
            for _ in 0..<300 { #expect(try RawClient(server.path, export: "disk").isUsable()) }
            try Tool.eventually("all are gone") { server.server.connectionCount == 0 }
        }
        try connectOften()
        let before = (try count("fd"), try count("task"))
        try connectOften()
        // Threads of other parts of this process come and go.
        #expect(try count("fd") <= before.0 + 8)
        #expect(try count("task") <= before.1 + 8)
    }

    @Test func severalConnectionsSeeEachOthersWrites() throws {
        let server = try TestServer([MemoryExport(name: "disk", byteCount: 1 << 20)])
        let clients = try (0..<4).map { _ in try RawClient(server.path, export: "disk") }
        for (index, client) in clients.enumerated() {
            try client.request(1, at: UInt64(index), length: 1, payload: [UInt8(index + 1)])
            #expect(try client.simple() == 0)
            #expect(try client.isUsable())
        }
        for client in clients {
            try client.request(0, length: 4)
            #expect(try client.chunk().data[8...] == [1, 2, 3, 4])
        }
    }
}
