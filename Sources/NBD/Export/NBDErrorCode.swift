/// The error numbers of the NBD protocol (doc/proto.md, "Error values"); they are those of Linux.
public enum NBDErrorCode: UInt32, Error, Sendable {
    case notPermitted = 1
    case inputOutput = 5
    case noMemory = 12
    case invalid = 22
    case noSpace = 28
    case overflow = 75
    case notSupported = 95
    case shuttingDown = 108

    /// The code for an `errno`; what the protocol has no number for is an input/output error.
    public init(errno number: Int32) { self = UInt32(exactly: number).flatMap(Self.init(rawValue:)) ?? .inputOutput }
}
