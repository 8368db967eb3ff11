/// An event that does not fit the state of the output gate. Nothing has changed when it is thrown.
public enum OutputLedgerError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The event does not exist in this phase.
    case wrongPhase(event: String, phase: OutputLedger.Phase)
    /// Sealed epochs must rise.
    case epochNotRising(epoch: UInt64, newest: UInt64)
    /// The epoch was never sealed, so nothing of it may leave.
    case epochNotSealed(epoch: UInt64, newest: UInt64)
    /// Only the newest sealed epoch that is not yet committed can be withdrawn.
    case epochNotWithdrawable(epoch: UInt64)

    public var description: String {
        switch self {
        case .wrongPhase(let event, let phase): "cannot \(event) while the output gate is \(phase)"
        case .epochNotRising(let epoch, let newest): "cannot seal output as epoch \(epoch) after epoch \(newest)"
        case .epochNotSealed(let epoch, let newest): "cannot release output through epoch \(epoch): the newest sealed epoch is \(newest)"
        case .epochNotWithdrawable(let epoch): "cannot withdraw the seal of epoch \(epoch): it is not the newest one, or it is committed"
        }
    }
}
