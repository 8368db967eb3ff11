/// The laboratory could not be set up, which says nothing about a promise of the product.
struct LaboratoryFailure: Error, CustomStringConvertible {
    let cause: any Error

    var description: String { "the laboratory could not be set up: \(cause)" }

    /// Runs a step of the set-up, before anything is protected.
    @discardableResult
    static func settingUp<Result>(_ body: () throws -> Result) throws -> Result {
        do { return try body() } catch { throw LaboratoryFailure(cause: error) }
    }
}
