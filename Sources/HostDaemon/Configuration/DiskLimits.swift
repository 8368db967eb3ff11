/// The table `disks` of the configuration: where copies of other hosts' disks live, and how many writes may wait where.
public struct DiskLimits: Codable, Sendable, Equatable {
    /// The folder for copies of other hosts' disks; empty for `disks` in the state folder.
    public var folder = ""
    /// MiB of writes that wait for the link on the primary.
    public var queueMebibytes = 64
    /// MiB of writes that wait in the backup's memory for their commit.
    public var memoryMebibytes = 64
    /// MiB of them that may go to a file beyond that.
    public var spillMebibytes = 4096
    /// How long a guest's write may wait for its replication before protection is given up, milliseconds.
    public var stallMilliseconds = 2000.0
    /// MiB per second at which the disks of a machine are read and copied before it is protected; 0 for no limit.
    public var copyMebibytes = 0

    public init() {}

    private enum CodingKeys: String, CodingKey, CaseIterable {
        case folder, queueMebibytes = "queue-mib", memoryMebibytes = "memory-mib", spillMebibytes = "spill-mib",
            stallMilliseconds = "stall-ms", copyMebibytes = "copy-mib-per-second"
    }

    static let keys = CodingKeys.allCases.map(\.rawValue)

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        folder = try values.decodeIfPresent(String.self, forKey: .folder) ?? folder
        queueMebibytes = try values.decodeIfPresent(Int.self, forKey: .queueMebibytes) ?? queueMebibytes
        memoryMebibytes = try values.decodeIfPresent(Int.self, forKey: .memoryMebibytes) ?? memoryMebibytes
        spillMebibytes = try values.decodeIfPresent(Int.self, forKey: .spillMebibytes) ?? spillMebibytes
        stallMilliseconds = try values.number(forKey: .stallMilliseconds) ?? stallMilliseconds
        copyMebibytes = try values.decodeIfPresent(Int.self, forKey: .copyMebibytes) ?? copyMebibytes
    }

    func validate(_ demand: (Bool, String) throws(HostDaemonError) -> Void) throws(HostDaemonError) {
        try demand(folder.hasPrefix("/"), "`disks.folder` must be an absolute path")
        try demand((64...65_536).contains(queueMebibytes), "`disks.queue-mib` must lie between 64 and 65536")
        try demand((8...65_536).contains(memoryMebibytes), "`disks.memory-mib` must lie between 8 and 65536")
        try demand((0...1_048_576).contains(spillMebibytes), "`disks.spill-mib` must lie between 0 and 1048576")
        try demand((100...60_000).contains(stallMilliseconds), "`disks.stall-ms` must lie between 100 and 60000")
        try demand((0...1_048_576).contains(copyMebibytes), "`disks.copy-mib-per-second` must lie between 0 and 1048576")
    }

    /// Where the copy of a machine's disk lives unless the operator says otherwise.
    func path(machine: String, disk: String) -> String {
        let word = disk.map { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") ? $0 : "-" }
        return "\(folder)/\(machine)/\(String(word)).raw"
    }
}
