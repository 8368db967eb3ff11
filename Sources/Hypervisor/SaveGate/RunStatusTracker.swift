internal import QMP

/// Follows the run status through QEMU's events, and notes whether one save stopped and resumed a running guest.
struct RunStatusTracker {
    private(set) var status: RunStatus
    /// False when the events leave open what the status is: ask.
    private(set) var isCertain = true
    /// QEMU's times of the latest stop and of the resumption after it, since `beginSave`.
    private(set) var stoppedAt: Int64?
    private(set) var resumedAt: Int64?
    private(set) var hasStopped = false
    private(set) var hasResumed = false
    /// The save is being drained: the guest stood still when that began, so that the next resumption is the end of this very save.
    private var isDraining = false
    /// An event that makes the state of a save worthless came since `beginSave`.
    private(set) var wasDisturbed = false

    init(status: RunStatus) { self.status = status }

    mutating func beginSave() {
        stoppedAt = nil
        resumedAt = nil
        hasStopped = false
        hasResumed = false
        wasDisturbed = false
        isDraining = false
    }

    mutating func beginDrain() { isDraining = true }

    /// What comes after the end of the save, before QEMU's reply, concerns the status only.
    private var isOver: Bool { isDraining && hasStopped && hasResumed }

    /// Takes over QEMU's own word.
    mutating func learn(_ status: RunStatus) {
        self.status = status
        isCertain = true
    }

    mutating func note(_ event: QMPEvent) {
        switch event.name {
        case "STOP":
            status = .paused
            guard !isOver else { return }
            hasStopped = true
            hasResumed = false
            stoppedAt = event.timestampMicroseconds
        case "RESUME":
            if status != .paused { isCertain = false }
            status = .running
            guard !isOver else { return }
            hasResumed = true
            resumedAt = event.timestampMicroseconds
        case "SUSPEND", "SUSPEND_DISK":
            status = .suspended
            wasDisturbed = wasDisturbed || !isOver
        case "SHUTDOWN":
            status = .shutdown
            wasDisturbed = wasDisturbed || !isOver
        case "GUEST_PANICKED", "GUEST_CRASHLOADED", "WATCHDOG", "WAKEUP", "RESET":
            isCertain = false
            if event.name != "RESET" { wasDisturbed = wasDisturbed || !isOver }
        default: break
        }
    }

    /// Whether the save that has just ended found a running guest and left it running.
    var savedRunningGuest: Bool { hasStopped && hasResumed && !wasDisturbed }

    /// Whether the save that has just ended found a guest that was stopped for it, and left it so.
    var savedStoppedGuest: Bool { hasStopped && !hasResumed && !wasDisturbed }
}
