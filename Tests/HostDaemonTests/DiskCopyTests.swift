import Foundation
import Glibc
import Testing

@testable import HostDaemon

/// Who may overwrite what lies in the place of a disk's copy.
@Suite struct DiskCopyTests {
    private static let states: [CopySignature.State] = [.copy, .ran(since: 1), .ran(since: .max), .newest]

    @Test func `a signature is read as it was written, whatever takes its place`() {
        for state in Self.states {
            let signature = CopySignature(machine: "web", state: state)
            #expect(CopySignature(text: signature.text) == signature)
            #expect(signature.text.utf8.count == CopySignature(machine: "web", state: .copy).text.utf8.count)
        }
    }

    @Test(arguments: [
        "", "web", "web\n", "web\nmine\n", "web\nran\n", "web\nran -1\n", "web\nran 1 2\n", "web\ncopy\nmore\n", "web\ncopy x\n",
    ])
    func `anything else is no signature`(text: String) { #expect(CopySignature(text: text) == nil) }

    @Test func `an image on which the machine ran yields to a newer generation of the same machine only`() {
        func yields(_ state: CopySignature.State, _ generation: UInt64, to machine: String = "web") -> Bool {
            CopySignature(machine: "web", state: state).yields(to: machine, in: generation)
        }
        #expect(yields(.copy, 1))
        #expect(!yields(.copy, 1, to: "mail"))
        #expect(yields(.ran(since: 4), 5))
        #expect(!yields(.ran(since: 4), 4))
        // The record was removed at a shutdown, and a new one was made for the old image.
        #expect(!yields(.ran(since: 4), 1))
        #expect(!yields(.ran(since: 4), 5, to: "mail"))
        #expect(!yields(.newest, .max))
    }

    /// An image in a folder of its own.
    private func withImage(_ body: (DiskCopy) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("understudy-copy-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let copy = DiskCopy(path: "\(folder)/disk")
        try Data([1]).write(to: URL(fileURLWithPath: copy.path))
        try body(copy)
    }

    private func refusal(_ copy: DiskCopy, generation: UInt64 = 9, overwrite: Bool = false) -> String? {
        do throws(HostDaemonError) {
            try copy.demandFree(machine: "web", disk: "d", generation: generation, overwrite: overwrite)
            return nil
        } catch { return error.message }
    }

    @Test func `an image goes from copy to newest disk and back, and is never overwritten unasked in between`() throws {
        try withImage { copy in
            #expect(refusal(copy)?.contains("holds something") == true)
            // What never was a copy is not signed by what becomes of it.
            try copy.mark(.ran(since: 2), machine: "web")
            #expect(!FileManager.default.fileExists(atPath: copy.path + ".understudy"))
            try copy.sign(machine: "web")
            #expect(refusal(copy) == nil)
            try copy.mark(.ran(since: 2), machine: "web")
            #expect(refusal(copy, generation: 2)?.contains("newest disk of web") == true)
            #expect(refusal(copy, generation: 2)?.contains("--overwrite") == true)
            #expect(refusal(copy, generation: 2, overwrite: true) == nil)
            #expect(refusal(copy, generation: 3) == nil)
            try copy.mark(.newest, machine: "web")
            #expect(refusal(copy) != nil)
            try copy.mark(.copy, machine: "mail")
            #expect(refusal(copy) != nil)
            try copy.mark(.copy, machine: "web")
            #expect(refusal(copy, generation: 1) == nil)
        }
    }

    @Test func `a machine's own image becomes a copy unasked only when the generation proves that another host has gone on from it`() throws
    {
        try withImage { copy in
            func isSuperseded(_ generation: UInt64, by machine: String = "web") -> Bool {
                copy.isSuperseded(machine: machine, generation: generation)
            }
            // Nothing proves anything of an image of which nobody ever said that a machine under protection ran on it.
            #expect(!isSuperseded(9))
            try copy.claim(machine: "web", since: 4)
            #expect(isSuperseded(5) && !isSuperseded(4) && !isSuperseded(5, by: "mail"))
            // Alone again, and protected anew: the earlier generation proves nothing any more.
            try copy.claim(machine: "web", since: 5)
            #expect(isSuperseded(6) && !isSuperseded(5))
            try copy.mark(.newest, machine: "web")
            #expect(!isSuperseded(.max))
            try copy.claim(machine: "web", since: 6)
            let descriptor = open(copy.path, O_RDWR)
            defer { close(descriptor) }
            try #require(ImageLock.take(descriptor))
            #expect(!isSuperseded(7), "a guest of whoever started one may be using it")
        }
    }

    @Test func `a signature that cannot be written is an error`() throws {
        try withImage { copy in
            try copy.sign(machine: "web")
            let signature = copy.path + ".understudy"
            try FileManager.default.removeItem(atPath: signature)
            try FileManager.default.createDirectory(atPath: signature, withIntermediateDirectories: false)
            #expect(throws: HostDaemonError.self) { try copy.sign(machine: "web") }
        }
    }
}
