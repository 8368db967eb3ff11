internal import Glibc
internal import HostAPI
internal import Synchronization

/// The machines of this host by name.
final class MachineRegistry: Sendable {
    private let sessions = Mutex<[String: any MachineSession]>([:])
    /// Sessions that are over and still told by `status`; whoever asks under ever new names must not fill the memory.
    private static let mostOver = 64

    /// Adds a session; one that is over gives its name up, and when too many are over, one of them is forgotten.
    func add(_ session: any MachineSession) throws(HostDaemonError) {
        let name = session.name
        let added = sessions.withLock { sessions in
            if let present = sessions[name], !present.isOver { return false }
            sessions[name] = session
            let over = sessions.filter { $0.value.isOver }.keys
            if over.count > Self.mostOver, let forgotten = over.first { sessions.removeValue(forKey: forgotten) }
            return true
        }
        guard added else { throw Self.busy(name) }
    }

    static func busy(_ name: String) -> HostDaemonError {
        HostDaemonError(.busy, "a machine named \(name) is known to this host already: see `understudy status`, or choose another name")
    }

    /// Puts a session in the place of the one that had its name: the machine changed its role.
    func replace(_ session: any MachineSession) { sessions.withLock { $0[session.name] = session } }

    func remove(_ session: any MachineSession) {
        sessions.withLock { sessions in
            if sessions[session.name] === session { sessions.removeValue(forKey: session.name) }
        }
    }

    subscript(name: String) -> (any MachineSession)? { sessions.withLock { $0[name] } }

    var all: [any MachineSession] { sessions.withLock { sessions in sessions.values.sorted { $0.name < $1.name } } }

    /// Waits until a machine is in a state; nil when the time runs out or `goOn` says no.
    ///
    /// - Parameter seconds: from a client, so any number at all.
    func wait(name: String, state: MachineStatus.State, seconds: Double, goOn: () -> Bool) -> MachineStatus? {
        let end = MonotonicClock.now + MonotonicClock.nanoseconds(seconds: seconds)
        repeat {
            if let status = self[name]?.status, status.state == state { return status }
            usleep(5_000)
        } while MonotonicClock.now < end && goOn()
        return nil
    }
}
