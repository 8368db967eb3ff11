/// One reason why a machine cannot be protected as it is.
public struct Refusal: Codable, Sendable, Equatable, CustomStringConvertible {
    public enum Code: String, Codable, Sendable, CaseIterable {
        case migrationBlocker, notRunning, writableDisk, vhostUser, vfio, vdpa, tpmCRB, macvtap, balloonWithSharedMemory, sharedMemoryDevice
        case noNetworkCard, sharedTap, networkBackendNotTap, netdevWithoutName, tapNotFound, tapNotInBridge, otherNetworkNamespace
        case kernelTooOld, missingTracePrivilege, missingNetworkPrivilege, missingTunDevice
    }

    public var code: Code
    /// What is in the way.
    public var what: String
    /// What the operator can change.
    public var remedy: String

    public init(_ code: Code, _ what: String, remedy: String) {
        self.code = code
        self.what = what
        self.remedy = remedy
    }

    public var description: String { "\(what): \(remedy)" }
}
