/// What the operator's configuration changes in a derived command line.
public struct StandbyOverrides: Codable, Sendable, Equatable {
    /// Files that QEMU writes (serial port to a file and the like).
    public enum OutputFiles: String, Codable, Sendable {
        /// The primary's paths, on the other host.
        case samePath
        /// Files of the same names in the runtime folder: needed when both QEMUs see one file system.
        case runtimeFolder
    }

    /// The primary's path to the standby's. A path given here is used as it is, whatever rule it would fall under.
    public var paths: [String: String]
    /// The primary's tap name to the standby's.
    public var taps: [String: String]
    /// The argument, without its id, of the standby's `-netdev` in place of the primary's that is no tap, by its id.
    public var netdevs: [String: String] = [:]
    /// The program file to start; nil for the primary's.
    public var executable: String?
    public var outputFiles: OutputFiles
    /// Options to leave out, with dash: `-vnc` drops every one, `-device nvme` (option, blank, beginning of the argument) some.
    public var remove: [String]
    /// Arguments appended at the end, before Understudy's own.
    public var append: [String]
    /// Replicated disks of the primary.
    public var disks: [StandbyDisk] = []

    public init(
        paths: [String: String] = [:], taps: [String: String] = [:], executable: String? = nil, outputFiles: OutputFiles = .samePath,
        remove: [String] = [], append: [String] = []
    ) {
        self.paths = paths
        self.taps = taps
        self.executable = executable
        self.outputFiles = outputFiles
        self.remove = remove
        self.append = append
    }
}
