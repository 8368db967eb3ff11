/// A replicated disk of the primary, and the raw image that takes its place on the standby.
public struct StandbyDisk: Codable, Sendable, Equatable {
    /// The drive's name, for messages.
    public var name: String
    /// The uppermost node of the primary's block graph.
    public var node: String
    /// The primary's file.
    public var file: String
    /// The raw image on the standby's host, absolute.
    public var path: String

    public init(name: String, node: String, file: String, path: String) {
        self.name = name
        self.node = node
        self.file = file
        self.path = path
    }
}
