import Glibc

/// The programs that make and read disk images.
enum DiskTool {
    struct Outcome {
        /// The program's exit status.
        let status: Int32
        let output: String
    }

    /// Whether all of them are there.
    static var areInstalled: Bool { ["qemu-img", "mkfs.ext4", "e2fsck", "debugfs", "dumpe2fs"].allSatisfy(path(of:)) }

    private static func path(of program: String) -> Bool { LabSystem.hasProgram(program) || LabSystem.hasProgram("/usr/sbin/\(program)") }

    /// Runs a program that must succeed; returns what it printed.
    @discardableResult
    static func run(_ arguments: [String]) throws(DemonstrationError) -> String {
        let outcome = try outcome(of: arguments)
        guard outcome.status == 0 else {
            throw DemonstrationError(.process, "\(arguments.joined(separator: " ")) failed: \(outcome.output)")
        }
        return outcome.output
    }

    /// Runs a program to its end.
    ///
    /// - Throws: `.prerequisiteMissing` when it is not there, `.process` when a signal ended it, `.timeout` after a minute.
    static func outcome(of arguments: [String]) throws(DemonstrationError) -> Outcome {
        guard let program = arguments.first, path(of: program) else {
            throw DemonstrationError(
                .prerequisiteMissing, "`\(arguments.first ?? "")` is missing: apt-get install qemu-utils e2fsprogs")
        }
        let log = "/tmp/understudy-disk-\(getpid())-\(UInt32.random(in: 0...UInt32.max)).log"
        // Debian's administration tools are not in every user's PATH.
        let tools = (getenv("PATH").map { String(cString: $0) + ":" } ?? "") + "/usr/sbin:/usr/bin:/sbin:/bin"
        let process = try LabProcess.start(["env", "PATH=\(tools)", "LC_ALL=C"] + arguments, log: log, name: program)
        let ended = process.wait(milliseconds: 60_000)
        if ended == nil { process.end() }
        let output = LabFiles.text(of: log)
        try LabFiles.remove(log)
        guard let ended else { throw DemonstrationError(.timeout, "\(program) did not end within a minute: \(output)") }
        guard ended & 0x7f == 0 else { throw DemonstrationError(.process, "signal \(ended & 0x7f) ended \(program): \(output)") }
        return Outcome(status: ended >> 8 & 0xff, output: output)
    }
}
