import Foundation
import Glibc
import HostAPI
import Testing

@testable import HostDaemon

/// What lies where the daemon wants to put its own files.
@Suite struct LeftFilesTests {
    private let folder = FileManager.default.temporaryDirectory.path + "/understudy-left-\(UUID().uuidString)"

    private func inFolder(_ body: () throws -> Void) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body()
    }

    @Test func `a file at the socket's place is not removed`() throws {
        try inFolder {
            let path = "\(folder)/important"
            try "kept".write(toFile: path, atomically: true, encoding: .utf8)
            #expect(throws: HostDaemonError.self) { try APIServer.claim(path) }
            let left = try String(contentsOfFile: path, encoding: .utf8)
            #expect(left == "kept")
        }
    }

    @Test func `a dead daemon's socket is replaced and a living one's is not`() throws {
        try inFolder {
            let path = "\(folder)/understudyd.sock"
            let dead = UnixSocket.listen(path: path)
            close(dead)
            let living = try APIServer.claim(path)
            defer { close(living) }
            #expect(throws: HostDaemonError.self) { try APIServer.claim(path, patience: 0.1) }
            let client = UnixSocket.connect(path: path)
            #expect(client >= 0)
            close(client)
        }
    }

    @Test func `a daemon that is just ending is waited for`() throws {
        try inFolder {
            let path = "\(folder)/understudyd.sock"
            let ending = UnixSocket.listen(path: path)
            Thread.detachNewThread {
                usleep(100_000)
                close(ending)
            }
            let next = try APIServer.claim(path, patience: 30)
            close(next)
        }
    }

    @Test func `a session record that cannot be read is named with what to do`() throws {
        try inFolder {
            try "{".write(toFile: "\(folder)/web.session.json", atomically: true, encoding: .utf8)
            let error = #expect(throws: HostDaemonError.self) { try SessionRecord.all(in: folder) }
            #expect(error?.message.contains("web.session.json") == true)
            #expect(error?.message.contains("remove the file") == true)
        }
    }

    @Test func `no session record means nothing to take up`() throws {
        try inFolder {
            let records = try SessionRecord.all(in: folder)
            #expect(records.isEmpty)
        }
    }
}
