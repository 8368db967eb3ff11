extension DiskRecord {
    /// How a guest left its file system.
    public enum Ending: Sendable {
        /// The guest unmounted it (`Lab.endJournal`): nothing may be left to recover.
        case unmounted
        /// The guest was killed or still runs: the file system's own journal is replayed first, as the next mount would.
        case crashed
    }

    /// Reads the guest's journal out of an image and checks its file system, both on a copy.
    ///
    /// - Throws: `.process` or `.prerequisiteMissing` for a tool that failed, `.file` when the image has no readable journal.
    public static func read(from image: DiskImage, ending: Ending) throws(DemonstrationError) -> DiskRecord {
        try image.withRawCopy { copy throws(DemonstrationError) in
            var isClean = true
            var report = ""
            if try DiskTool.run(["dumpe2fs", "-h", copy]).contains("needs_recovery") {
                let replay = try DiskTool.outcome(of: ["e2fsck", "-E", "journal_only", "-y", copy])
                isClean = ending == .crashed && replay.status <= 1
                report = (ending == .crashed ? "" : "the guest left its file system mounted\n") + replay.output
            }
            let check = try DiskTool.outcome(of: ["e2fsck", "-fn", copy])
            return DiskRecord(journal: try journal(in: copy), isClean: isClean && check.status == 0, report: report + check.output)
        }
    }

    /// A record that a crash cut off at the end had no reply: it is left out.
    private static func journal(in fileSystem: String) throws(DemonstrationError) -> [ChainRecord] {
        let file = fileSystem + ".journal"
        defer { LabFiles.removeIfThere(file) }
        let output = try DiskTool.run(["debugfs", "-R", "dump /journal \(file)", fileSystem])
        guard LabFiles.exists(file) else { throw DemonstrationError(.file, "the guest's disk holds no readable journal: \(output)") }
        let bytes = LabFiles.content(of: file)
        let length = ServiceProtocol.recordLength
        return (0..<bytes.count / length).map { ServiceProtocol.record(bytes[$0 * length..<($0 + 1) * length]) }
    }
}
