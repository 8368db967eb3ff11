import ArgumentParser
import Demonstration
import Foundation

struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Watch a host die under live connections: two hosts, a client and an arbiter on this machine, all removed afterwards.")

    @Option(help: "Decides the moment of death; printed, so that a run can be repeated.")
    var seed: UInt64?

    @Option(help: "QEMU's program.")
    var qemu = "qemu-system-x86_64"

    @Option(help: "Length of an epoch in milliseconds.")
    var interval = 25.0

    @Option(help: "Pages that the guest rewrites in every 25 ms.")
    var dirtyPages = 500

    @Flag(help: "Open the output gate: shows what goes wrong without output commit. The verdict then fails.")
    var unsafeNoOutputCommit = false

    @Flag(help: "Give the guest no disk.")
    var noDisk = false

    @Flag(help: "Leave hosts, daemons and a guest without a disk running, and say how to reach them.")
    var keep = false

    @Flag(help: "Print the verdict as JSON in the last line.")
    var json = false

    func validate() throws {
        guard (5...10_000).contains(interval) else { throw ValidationError("--interval \(interval): give 5 to 10000 milliseconds") }
        guard (0...20_000).contains(dirtyPages) else { throw ValidationError("--dirty-pages \(dirtyPages): give 0 to 20000") }
    }

    func run() throws {
        let own = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent().path
        var options = DemoOptions(
            daemon: "\(own)/understudyd", qemu: qemu, intervalMilliseconds: interval, dirtyPages: dirtyPages,
            unsafeNoOutputCommit: unsafeNoOutputCommit, hasDisk: !noDisk && !keep)
        if let seed { options.seed = seed }
        let lab: Lab
        do throws(DemonstrationError) {
            // Before anything is made: without the guest's image there is nothing to show.
            _ = try GuestImage.cached()
            lab = try Lab.create()
        } catch {
            Output.complain(error.description)
            throw ExitCode(1)
        }
        let interruption = Interruption()
        lab.destroyOnInterrupt { interruption.note() }
        Output.note("seed \(options.seed)")
        let verdict: Verdict
        do {
            verdict = try DemoRun(options, in: lab, tell: Output.note).play()
        } catch {
            interruption.endHere()
            Output.complain("the demonstration broke off: \(error)")
            sleep(5)
            for host in [lab.host1, lab.host2] { Output.note(tail(of: "\(host.folder)/understudyd.log", host: host.name)) }
            try finish(lab)
            throw ExitCode(1)
        }
        try finish(lab)
        Output.note(VerdictText.render(verdict))
        if json { Output.line(verdict.json) }
        if !verdict.passed { throw ExitCode(1) }
    }

    private func finish(_ lab: Lab) throws {
        guard keep else { return try lab.destroy() }
        try lab.leaveRunning()
        Output.note(
            """
            kept running until the next demo; the survivor is on host2:
              UNDERSTUDY_SOCKET=\(lab.host2.folder)/understudyd.sock understudy status
              ip netns exec \(lab.client.namespace) ping \(LabAddresses.guest)
              logs and sockets: \(lab.folder)
            """)
    }

    private func tail(of path: String, host: String) -> String {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return "\(host): no log" }
        return "\(host)'s log ends with:\n" + text.split(separator: "\n").suffix(12).joined(separator: "\n")
    }
}
