/// Who may connect to a server's socket.
public struct NBDSocketAccess: Sendable {
    /// The path's permissions.
    public var mode: UInt32
    /// The path's owner and group; nil: those of this process.
    public var user: UInt32?
    public var group: UInt32?

    public init(mode: UInt32 = 0o600, user: UInt32? = nil, group: UInt32? = nil) {
        self.mode = mode
        self.user = user
        self.group = group
    }
}
