/// Why a migration stream cannot be written.
public struct MigrationStreamError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// The machine type's name is empty or too long.
        case badMachineType
        /// A RAM block's name is empty, longer than 255 bytes or used twice, or its length is zero or no multiple of the page size.
        case badBlock
        /// A page lies outside its RAM block, or not on a page boundary.
        case badPage
        /// The device state is too short or does not begin with the header of one.
        case badDeviceState
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
