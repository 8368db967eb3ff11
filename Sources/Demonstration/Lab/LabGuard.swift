import Dispatch
import Glibc
import Synchronization

/// The process that removes a lab, and the lock that keeps a second one out.
///
/// It is a shell that waits on a socket whose other end only the demo holds: the demo's end, however it comes about, wakes it. It
/// also holds the state folder's lock, so that the next demo does not start before the clean-up is over.
final class LabGuard: Sendable {
    /// Names the namespace in the environment of every process that the lab starts.
    static let mark = "UNDERSTUDY_LAB_NAMESPACE"

    /// Ends the processes of the namespaces that `$1/namespaces` names, removes the namespaces and the folder.
    ///
    /// A process that was started a moment before may not have entered its namespace yet: it is known by its environment. A killed
    /// one can just have forked. So both are looked for until nobody is left, and once more when the namespaces are gone.
    private static let script = """
        members() {
            for n in $(cat "$1/namespaces"); do
                ip netns pids "$n" 2>/dev/null
                grep -lsz "^\(mark)=$n$" /proc/[0-9]*/environ | cut -d / -f 3
            done
        }
        sweep() {
            for round in $(seq 100); do
                left=$(members "$1")
                [ -n "$left" ] || return
                kill -9 $left 2>/dev/null
                sleep 0.05
            done
        }
        read -r word || word=
        [ "$word" = leave ] && exit 0
        sweep "$1"
        status=0
        for n in $(cat "$1/namespaces"); do
            [ ! -e "/run/netns/$n" ] || ip netns del "$n" || status=1
        done
        sweep "$1"
        [ $status = 0 ] && rm -rf "$1" "$1.cleanup.log"
        exit $status
        """

    private struct State {
        /// The demo's end of the socket; nil when the guard has been told what to do.
        var leash: Int32?
        /// Empty without an interrupt handler.
        var signals: [SignalSource] = []
        var beforeCleanUp: [@Sendable () -> Void] = []
    }

    /// Keeps a signal source alive.
    ///
    /// SAFETY: the source is configured before it is wrapped and not touched again; Dispatch's objects may be released on any thread.
    private struct SignalSource: @unchecked Sendable {
        let source: any DispatchSourceSignal
    }

    private let process: LabProcess
    private let state: Mutex<State>

    /// Starts the guard of a lab folder, which must have its file `namespaces`.
    ///
    /// - Parameter lock: the locked descriptor of the state folder's lock file; the guard gets a copy.
    init(folder: String, lock: Int32) throws(DemonstrationError) {
        var pair: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &pair) == 0 else {
            throw LabSystem.failure(.process, "cannot make the guard's socket")
        }
        defer { close(pair[1]) }
        do throws(DemonstrationError) {
            process = try LabGuard.startScript(folder: folder, descriptors: [0: pair[1], 9: lock])
        } catch {
            close(pair[0])
            throw error
        }
        state = Mutex(State(leash: pair[0]))
    }

    /// Removes the lab in a folder that a dead run left.
    static func removeStale(folder: String) throws(DemonstrationError) {
        try awaitCleanUp(of: try startScript(folder: folder, descriptors: [:]), folder: folder)
    }

    /// Registers what must be released (a socket in a namespace, say) before the namespaces can vanish.
    func beforeCleanUp(_ action: @escaping @Sendable () -> Void) {
        state.withLock { $0.beforeCleanUp.append(action) }
    }

    /// Cleans up now and waits for the end of it. A second call does nothing.
    func cleanUp() throws(DemonstrationError) {
        let taken = state.withLock { state -> (leash: Int32, actions: [@Sendable () -> Void])? in
            defer { state.leash = nil }
            return state.leash.map { ($0, state.beforeCleanUp) }
        }
        guard let taken else { return }
        for action in taken.actions { action() }
        close(taken.leash)
        try LabGuard.awaitCleanUp(of: process, folder: process.log)
    }

    /// Lets go of the leash as the death of this process would: the guard cleans up on its own.
    func abandon() {
        if let leash = state.withLock({ state in
            defer { state.leash = nil }; return state.leash
        }) {
            close(leash)
        }
    }

    /// Ends the guard without a clean-up.
    func disarm() throws(DemonstrationError) {
        guard
            let leash = state.withLock({ state in
                defer { state.leash = nil }; return state.leash
            })
        else { return }
        defer { close(leash) }
        guard write(leash, "leave\n", 6) == 6 else { throw LabSystem.failure(.process, "cannot tell the guard to leave the lab") }
        _ = process.wait(milliseconds: 10_000)
    }

    /// SIGINT and SIGTERM clean up and end this process.
    func cleanUpOnInterrupt(notice: @escaping @Sendable () -> Void) {
        let queue = DispatchQueue(label: "understudy.demo.interrupt")
        let sources = [SIGINT, SIGTERM].map { number in
            // The dispatch source sees the signal only when its default action is off.
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler { [self] in
                notice()
                do throws(DemonstrationError) {
                    try cleanUp()
                } catch {
                    let line = Array("understudy demo: \(error)\n".utf8)
                    _ = write(STDERR_FILENO, line, line.count)
                }
                exit(128 + number)
            }
            source.activate()
            return SignalSource(source: source)
        }
        state.withLock { $0.signals = sources }
    }

    private static func startScript(folder: String, descriptors: [Int32: Int32]) throws(DemonstrationError) -> LabProcess {
        try LabProcess.start(
            ["/bin/sh", "-c", script, "understudy-lab-guard", folder], log: folder + ".cleanup.log", name: "the lab's guard",
            descriptors: descriptors)
    }

    private static func awaitCleanUp(of process: LabProcess, folder: String) throws(DemonstrationError) {
        guard let status = process.wait(milliseconds: 60_000) else {
            throw DemonstrationError(.timeout, "the lab was not removed within 60 s: see `ip netns` and \(process.log)")
        }
        guard status == 0 else {
            throw DemonstrationError(.network, "the lab \(folder) could not be removed: \(LabFiles.tail(of: process.log))")
        }
        unlink(process.log)
    }
}
