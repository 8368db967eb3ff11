internal import Glibc
internal import Synchronization

/// Numbered places at which a test stops the daemon, to prove what the death of a host at that very place does.
///
/// Armed by the environment variable `UNDERSTUDY_FAULT=NAME:COUNT:FILE`: when the place is passed for the COUNTth time, the daemon creates FILE
/// and stands still (SIGSTOP) until somebody kills or continues it. Without the variable a pass costs one comparison.
final class FaultPoints: Sendable {
    enum Point: String, CaseIterable, Sendable {
        // A checkpoint on the primary, in order; the first one closes the gate.
        case checkpointAsked, checkpointStopped, gateClosed, checkpointSealed, checkpointScanned, checkpointCopied, checkpointResumed
        case epochMarked, epochSending, epochSent, acknowledged, released
        // The synchronisation on the primary.
        case recordPermitted, standbyPrepared, disksAttached, disksCopied, trackingArmed, roundSent, rehearsalSent, rehearsed, relayPrepared
        // The synchronisation on the backup.
        case standbyLaunched, rehearsalLoaded
        // An epoch on the backup.
        case writesStaged, epochStaged, epochAcknowledged, epochApplied
        // A takeover on the backup.
        case takeoverAsked, takeoverDecided, disksFinished, standbyActivated, tapOpened, guestRunning, takeoverConfirmed
        // A switchover on the primary, in order; the guest is held from the second one on.
        case switchoverAsked, switchoverHeld, switchoverReleased, switchoverRequested, switchoverConfirmed
        // The primary goes on alone.
        case soloAsked, soloDecided, gateOpened
    }

    private let point: Point?
    private let file: String
    private let remaining: Mutex<Int>
    /// Armed by `UNDERSTUDY_UNSAFE_SKIP_FENCING=1`, for the tests that show what fencing is good for.
    let skipsFencing = getenv("UNDERSTUDY_UNSAFE_SKIP_FENCING") != nil

    init(environment: String? = getenv("UNDERSTUDY_FAULT").map { String(cString: $0) }) throws(HostDaemonError) {
        guard let environment else {
            point = nil
            file = ""
            remaining = Mutex(0)
            return
        }
        let parts = environment.split(separator: ":", maxSplits: 2)
        guard parts.count == 3, let point = Point(rawValue: String(parts[0])), let count = Int(parts[1]), count > 0 else {
            throw HostDaemonError(.configuration, "UNDERSTUDY_FAULT=\(environment): write NAME:COUNT:FILE")
        }
        self.point = point
        file = String(parts[2])
        remaining = Mutex(count)
    }

    func pass(_ point: Point) {
        guard point == self.point else { return }
        let hit = remaining.withLock { count in
            count -= 1
            return count == 0
        }
        guard hit else { return }
        let descriptor = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)
        if descriptor >= 0 { close(descriptor) }
        // To this very thread, which would run on past the place until another one had taken a signal to the process.
        raise(SIGSTOP)
    }
}
