/// Why compression cannot be used.
public struct PackingError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What failed and what the operator can do.
    public var message: String

    public init(_ message: String) { self.message = message }

    public var description: String { message }
}
