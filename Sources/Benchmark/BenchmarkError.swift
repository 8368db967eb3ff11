/// Why a benchmark broke off.
public struct BenchmarkError: Error, Sendable, CustomStringConvertible {
    /// What failed and what can be done about it.
    public var message: String

    public init(_ message: String) { self.message = message }

    public var description: String { message }
}
