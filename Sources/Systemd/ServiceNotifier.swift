internal import Glibc

/// sd_notify(3): tells systemd about this service by datagrams to the socket that `NOTIFY_SOCKET` names.
///
/// Without the variable (started by hand, in a test) every call does nothing.
public struct ServiceNotifier: Sendable {
    private let path: String?
    /// How often systemd wants a sign of life, in microseconds; nil when it does not watch this process.
    public let watchdogMicroseconds: UInt64?

    /// - Parameters:
    ///   - environment: the process's environment.
    ///   - process: this process's number, which `WATCHDOG_PID` must name.
    public init(environment: [String: String], process: Int32) {
        path = environment["NOTIFY_SOCKET"].flatMap { $0.isEmpty ? nil : $0 }
        let isMeant = environment["WATCHDOG_PID"].map { $0 == "\(process)" } ?? true
        watchdogMicroseconds = isMeant ? environment["WATCHDOG_USEC"].flatMap { UInt64($0) }.flatMap { $0 > 0 ? $0 : nil } : nil
    }

    /// The service is up: units ordered after it may start.
    public func ready(status: String) { send("READY=1\nSTATUS=\(oneLine(status))") }

    /// The service is about to end.
    public func stopping(status: String) { send("STOPPING=1\nSTATUS=\(oneLine(status))") }

    /// A sign of life; to be given at least twice in `watchdogMicroseconds`.
    public func alive() { send("WATCHDOG=1") }

    /// What `systemctl status` shows.
    public func status(_ text: String) { send("STATUS=\(oneLine(text))") }

    private func oneLine(_ text: String) -> String { text.replacing("\n", with: " ") }

    /// systemd may be gone or its queue full: a notice that is lost must not hold up the daemon.
    private func send(_ text: String) {
        guard let path else { return }
        DatagramSocket.send(Array(text.utf8), to: path)
    }
}
