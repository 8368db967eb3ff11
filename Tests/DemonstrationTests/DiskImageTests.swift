import Glibc
import Testing

@testable import Demonstration

/// Hands a folder over and removes it with what is left in it.
private func withFolder(_ body: (String) throws -> Void) throws {
    let folder = "/tmp/understudy-disk-tests-\(UInt32.random(in: 0...UInt32.max))"
    try LabFiles.makeFolder(folder)
    defer { #expect(throws: Never.self) { try removeFolder(folder) } }
    try body(folder)
}

private func debugfs(_ image: DiskImage, _ command: String) throws {
    try DiskTool.run(["debugfs", "-w", "-R", command, image.path])
}

/// Puts a journal of these records into the file system of a raw image.
private func put(_ records: [ChainRecord], cutOff: Int = 0, into image: DiskImage, folder: String) throws {
    func bytes(_ value: UInt64) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }
    let content = records.flatMap { record in
        [record.counter, record.client, record.request, record.random.high, record.random.low].flatMap(bytes)
    }
    let file = folder + "/journal"
    let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    try #require(descriptor >= 0 && write(descriptor, content, content.count - cutOff) == content.count - cutOff)
    close(descriptor)
    try debugfs(image, "write \(file) journal")
}

@Suite(.enabled(if: DiskTool.areInstalled, "needs qemu-utils and e2fsprogs")) struct DiskImageTests {
    private let records = HistoryFixture(requestsPerClient: 500).run.chain.records

    @Test(arguments: DiskImage.Format.allCases) func `a new file system is clean and holds no journal`(format: DiskImage.Format) throws {
        try withFolder { folder in
            let image = try DiskImage.create(at: folder + "/disk", format: format)
            try image.withRawCopy { copy throws(DemonstrationError) in
                let check = try DiskTool.outcome(of: ["e2fsck", "-fn", copy])
                #expect(check.status == 0, "\(check.output)")
            }
            #expect { _ = try DiskRecord.read(from: image, ending: .unmounted) } throws: { ($0 as? DemonstrationError)?.code == .file }
        }
    }

    @Test func `a journal is read as it was written, but for a record that was cut off`() throws {
        try withFolder { folder in
            let image = try DiskImage.create(at: folder + "/disk")
            try put(records, cutOff: 7, into: image, folder: folder)
            let disk = try DiskRecord.read(from: image, ending: .unmounted)
            #expect(disk.journal == records.dropLast())
            #expect(disk.isClean, "\(disk.report)")
        }
    }

    /// Each damage is one that a lost or a stray write could leave.
    @Test(arguments: [
        "set_inode_field journal block[5] 7", "clri <2>", "set_inode_field journal links_count 3", "freeb 2000 20",
        "set_block_group 0 free_inodes_count 5",
    ])
    func `a damaged file system is not clean`(damage: String) throws {
        try withFolder { folder in
            let image = try DiskImage.create(at: folder + "/disk")
            try put(records, into: image, folder: folder)
            #expect(try DiskRecord.read(from: image, ending: .unmounted).isClean)
            try debugfs(image, damage)
            let isClean: Bool
            do {
                let disk = try DiskRecord.read(from: image, ending: .unmounted)
                isClean = disk.isClean
            } catch let error as DemonstrationError where error.code == .file {
                isClean = false
            }
            #expect(!isClean, "\(damage) went unnoticed")
        }
    }

    @Test func `a file system that was left mounted is not clean after an orderly end`() throws {
        try withFolder { folder in
            let image = try DiskImage.create(at: folder + "/disk")
            try put(records, into: image, folder: folder)
            try debugfs(image, "feature needs_recovery")
            #expect(try !DiskRecord.read(from: image, ending: .unmounted).isClean)
            #expect(try DiskRecord.read(from: image, ending: .crashed).isClean)
        }
    }

    @Test func `blocks are judged from the image alone`() throws {
        var words = [UInt64](repeating: 0, count: 512)
        #expect(BlockContent.sequence(of: words, number: 5) == 0)
        words[511] = 1
        #expect(BlockContent.sequence(of: words, number: 5) == nil)
        try withFolder { folder in
            let image = try DiskImage.create(at: folder + "/disk", format: .qcow2, mebibytes: 1, content: .blank)
            #expect(try BlockContent.read(from: image) == BlockContent(sequences: Array(repeating: 0, count: 256)))
        }
    }

    @Test func `a tool that fails says why`() throws {
        #expect { _ = try DiskImage.create(at: "/nowhere/at/all") } throws: {
            let error = $0 as? DemonstrationError
            return error?.code == .process && error?.message.contains("/nowhere/at/all") == true
        }
    }
}
