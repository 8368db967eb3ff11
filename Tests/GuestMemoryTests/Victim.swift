import Foundation
import Glibc
import GuestMemory
import UnderstudyCore

/// The process whose memory is tracked.
final class Victim {
    enum Kind: String, CaseIterable, Sendable {
        case anonymous, huge, memfd, memfdPrivate = "memfd-private", file, filePrivate = "file-private"
    }

    let child: Child
    let blocks: [RAMBlock]
    private let path: String

    var pid: Int32 { child.pid }

    init(_ kind: String, pages: Int) throws {
        path = NSTemporaryDirectory() + "victim-\(UUID().uuidString)"
        child = try Child(Child.folder + "/memory-victim", [kind, "\(pages)", path])
        let words = try child.line().split(separator: " ")
        guard words.count == 3, words[0] == "ready", let address = UInt64(words[1]), let length = UInt64(words[2]) else {
            throw Failure("victim: \(words)")
        }
        unlink(path)
        blocks = [RAMBlock(name: "pc.ram", usedLength: length, totalLength: length, hostAddress: address)]
    }

    convenience init(_ kind: Kind, pages: Int = 2048) throws { try self.init(kind.rawValue, pages: pages) }

    func tell(_ command: String) throws {
        try child.send(command)
        let answer = try child.line()
        guard answer == "ok" else { throw Failure("victim: \(answer)") }
    }

    func tracker() throws -> DirtyTracker { try DirtyTracker(pid: pid, blocks: blocks, helperPath: Child.helper) }
}
