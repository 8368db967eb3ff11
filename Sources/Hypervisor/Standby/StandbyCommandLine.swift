/// The command line of a standby QEMU, and how it came about from the primary's.
public struct StandbyCommandLine: Codable, Sendable, Equatable {
    /// What the QEMU is started for.
    public enum Purpose: String, Codable, Sendable {
        /// The standby: it may become the guest.
        case standby
        /// A throwaway QEMU that only loads a checkpoint: nothing it does may be seen outside.
        case rehearsal
    }

    /// A tap that the standby opens. It must be there, deliver nothing to QEMU before the takeover, and have a MAC of its own.
    public struct Tap: Codable, Sendable, Equatable {
        /// Id of the netdev; empty where the command line has none.
        public var netdev: String
        /// The primary's interface; nil when unknown.
        public var primary: String?
        /// The standby's interface.
        public var name: String
        public var vnetHeader: Bool
        public var queues: Int
    }

    public var purpose: Purpose
    /// The arguments, program file first.
    public var argv: [String]
    /// Every change to the primary's arguments, in their order.
    public var rules: [AppliedRule]
    /// Files that must exist and be readable on the backup host, absolute paths, in the order of their appearance.
    public var requiredFiles: [String]
    /// Taps to prepare. A rehearsal's tap is made by QEMU itself, in no bridge, and disappears with it: not listed.
    public var taps: [Tap]
    /// Ids of netdevs that are no taps: those of a standby are deaf and mute until `StandbyProcess.openNetworks`.
    public var deafNetworks: [String]
    /// What the operator should know although it is no obstacle.
    public var warnings: [String]
    /// Path of the private QMP socket.
    public var qmpSocket: String

    /// Derives the standby's command line from the primary's.
    ///
    /// Pure: nothing is looked up. An option that is not known, or that cannot work on another host, is refused with a message that
    /// names it.
    ///
    /// - Parameters:
    ///   - argv: the primary's arguments (`/proc/PID/cmdline`), program first.
    ///   - runtimeFolder: folder of this standby, absolute; sockets and private files go there.
    ///   - name: distinguishes the files of several QEMUs in one runtime folder, for instance `standby` and `rehearsal`; letters,
    ///     digits, `-` and `_`.
    public static func derive(
        from argv: [String], machine: MachineFacts, overrides: StandbyOverrides = StandbyOverrides(), purpose: Purpose,
        runtimeFolder: String, name: String
    ) throws(HypervisorError) -> StandbyCommandLine {
        let qmpSocket = "\(runtimeFolder)/\(name).qmp"
        try check(runtimeFolder: runtimeFolder, name: name, socket: qmpSocket)
        var derivation = StandbyDerivation(
            machine: machine, overrides: overrides, purpose: purpose, runtimeFolder: runtimeFolder, name: name)
        let program = derivation.program(of: argv.first)
        try derivation.take(QEMUArgument.parse(argv.dropFirst()))
        let own = ["-monitor", "none", "-qmp", "unix:\(OptionValue.escaped(qmpSocket)),server=on,wait=off", "-S", "-incoming", "defer"]
        for (option, value) in [(own[0], own[1]), (own[2], own[3]), (own[4], ""), (own[5], own[6])] {
            derivation.rules.append(AppliedRule(option: option, from: "", to: value, why: "Understudy's own"))
        }
        return StandbyCommandLine(
            purpose: purpose, argv: [program] + derivation.arguments.flatMap(\.words) + overrides.append + own, rules: derivation.rules,
            requiredFiles: derivation.requiredFiles, taps: derivation.taps, deafNetworks: derivation.deafNetworks,
            warnings: derivation.warnings, qmpSocket: qmpSocket)
    }

    private static func check(runtimeFolder: String, name: String, socket: String) throws(HypervisorError) {
        guard runtimeFolder.hasPrefix("/"), runtimeFolder.count > 1, !runtimeFolder.hasSuffix("/") else {
            throw HypervisorError(.badDerivation, "the runtime folder \(runtimeFolder) is no absolute path without a slash at the end")
        }
        guard !name.isEmpty, name.utf8.allSatisfy({ isNameByte($0) }) else {
            throw HypervisorError(.badDerivation, "\"\(name)\" cannot name a standby: letters, digits, - and _ only")
        }
        // The size of sun_path is 108 with its final zero.
        guard socket.utf8.count < 108 else {
            throw HypervisorError(.badDerivation, "the socket path \(socket) is longer than 107 bytes; choose a shorter runtime folder")
        }
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        case UInt8(ascii: "-"), UInt8(ascii: "_"): true
        default: false
        }
    }
}

extension HypervisorError.Code {
    /// The primary was started with an option that a standby cannot have.
    public static let optionRefused = Self(rawValue: "optionRefused")
    /// The arguments of the derivation itself are unusable (folder, name, too long a socket path).
    public static let badDerivation = Self(rawValue: "badDerivation")
}
