/// Where a machine's images without format are on the host that ran it before.
struct FormerDisks: Codable, Sendable, Equatable {
    var host: String
    /// Absolute, by the disks' names.
    var paths: [String: String]
}
