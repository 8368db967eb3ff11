/// Why bytes are not a device state that a standby may be given.
public struct DeviceStateError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// Not the output of `xen-save-devices-state`: another magic, another version, or too short.
        case notADeviceState
        /// The machine writes no section footers (machine types of QEMU 2.3 and earlier): sections cannot be told apart.
        case noSectionFooters
        /// The bytes end in the middle, or no chain of sections leads from the header to the end.
        case malformed
        /// Two different lists of sections can be read out of the same bytes.
        case ambiguous
    }

    public var code: Code
    /// What failed and what the operator can do.
    public var message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { "\(code.rawValue): \(message)" }
}
