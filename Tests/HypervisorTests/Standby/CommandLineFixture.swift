import Testing

@testable import Hypervisor

/// Derives command lines from the arguments after the program, for the tests of single rules.
struct CommandLineFixture {
    var machine = MachineFacts(
        executable: "/usr/bin/qemu-system-x86_64", workingDirectory: "/home/op", machineType: "pc-q35-7.2",
        vmGenerationID: "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87", taps: ["n0": MachineFacts.Tap(name: "tap0")])
    var overrides = StandbyOverrides()
    var purpose = StandbyCommandLine.Purpose.standby

    /// What the derivation adds to every command line.
    static let own = [
        "-monitor", "none", "-qmp", "unix:/run/u/s.qmp,server=on,wait=off", "-S", "-incoming", "defer",
    ]

    func derive(_ words: [String]) throws(HypervisorError) -> StandbyCommandLine {
        try StandbyCommandLine.derive(
            from: ["qemu-system-x86_64"] + words, machine: machine, overrides: overrides, purpose: purpose, runtimeFolder: "/run/u",
            name: "s")
    }

    /// The arguments that the derivation made of `words`, without the program, the pinned machine, the display and its own.
    func result(of words: [String]) throws(HypervisorError) -> [String] {
        var argv = try derive(["-machine", "pc-q35-7.2", "-display", "none"] + words).argv
        argv.removeFirst(5)
        argv.removeLast(Self.own.count)
        return argv
    }

    /// A single option's argument after the derivation; nil when the option was dropped.
    func value(_ option: String, _ value: String) throws(HypervisorError) -> String? {
        let words = try result(of: [option, value])
        return words.count == 2 && words[0] == option ? words[1] : nil
    }

    static let standby = CommandLineFixture()
    static let rehearsal = CommandLineFixture(purpose: .rehearsal)
}
