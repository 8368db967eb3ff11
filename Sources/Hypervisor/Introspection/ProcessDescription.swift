/// A QEMU process.
public struct ProcessDescription: Codable, Sendable, Equatable {
    public var id: Int32
    /// Field 22 of `/proc/PID/stat`: clock ticks since boot. Together with `id` it names the process for ever.
    public var startTime: UInt64
    /// The file behind `/proc/PID/exe`.
    public var executable: String
    public var arguments: [String]
    public var workingDirectory: String
    /// The user and group that the kernel checks file access against.
    public var userID: UInt32
    public var groupID: UInt32

    public init(
        id: Int32, startTime: UInt64 = 0, executable: String = "/usr/bin/qemu-system-x86_64", arguments: [String] = [],
        workingDirectory: String = "/", userID: UInt32 = 0, groupID: UInt32 = 0
    ) {
        self.id = id
        self.startTime = startTime
        self.executable = executable
        self.arguments = arguments
        self.workingDirectory = workingDirectory
        self.userID = userID
        self.groupID = groupID
    }
}
