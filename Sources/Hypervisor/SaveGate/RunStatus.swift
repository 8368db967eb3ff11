/// What QEMU says the guest is doing (`query-status`).
///
/// Source: QEMU `qapi/run-state.json`, `RunState`.
public enum RunStatus: Sendable, Equatable, Hashable {
    case running
    case paused
    case suspended
    case shutdown
    case guestPanicked
    /// Every other state, by QEMU's name.
    case other(String)

    public init(name: String) {
        self =
            switch name {
            case "running": .running
            case "paused": .paused
            case "suspended": .suspended
            case "shutdown": .shutdown
            case "guest-panicked": .guestPanicked
            default: .other(name)
            }
    }

    public var name: String {
        switch self {
        case .running: "running"
        case .paused: "paused"
        case .suspended: "suspended"
        case .shutdown: "shutdown"
        case .guestPanicked: "guest-panicked"
        case .other(let name): name
        }
    }
}
