import ArgumentParser
import HostAPI

/// The operator's command line.
@main
struct Understudy: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "understudy",
        abstract: "Fault tolerance for running QEMU/KVM machines: the guest goes on when its host dies.",
        discussion: """
            Exit codes: 0 done; 1 refused or failed, the message says why; 2 the daemon does not answer; 3 a wait ran out of time; 64 wrong usage.
            """,
        version: HostAPIVersion.current,
        subcommands: [
            CheckCommand.self, ProtectCommand.self, UnprotectCommand.self, SwitchoverCommand.self, SetCommand.self, StatusCommand.self,
            EventsCommand.self,
            WaitCommand.self, VMCommand.self, PKICommand.self, DemoCommand.self, BenchCommand.self,
        ])
}
