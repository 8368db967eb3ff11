/// The process at the other end of a monitor socket (SO_PEERCRED), as it was when it called listen(2).
public struct QMPPeer: Sendable, Equatable {
    public var processID: Int32
    public var userID: UInt32
    public var groupID: UInt32

    public init(processID: Int32, userID: UInt32, groupID: UInt32) {
        self.processID = processID
        self.userID = userID
        self.groupID = groupID
    }
}
