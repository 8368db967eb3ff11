/// An asynchronous event of QEMU.
///
/// Source: QEMU `docs/interop/qmp-spec`, "Asynchronous events".
public struct QMPEvent: Sendable, Equatable {
    public var name: String
    public var data: JSONValue
    /// QEMU's wall clock, microseconds since 1970; nil when QEMU could not read it.
    public var timestampMicroseconds: Int64?

    public init(name: String, data: JSONValue = .object([:]), timestampMicroseconds: Int64? = nil) {
        self.name = name
        self.data = data
        self.timestampMicroseconds = timestampMicroseconds
    }
}

/// What QEMU answered to a command.
public enum QMPReply: Sendable, Equatable {
    case success(JSONValue)
    case failure(errorClass: String, description: String)
}

/// One line from QEMU after the greeting.
public enum QMPMessage: Sendable, Equatable {
    case event(QMPEvent)
    case reply(QMPReply)
}
