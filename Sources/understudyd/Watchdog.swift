import Foundation
import HostDaemon
import Systemd

/// Gives systemd its sign of life as long as every session of the host goes round.
struct Watchdog {
    private let notifier: ServiceNotifier
    private let host: HostDaemon.Host

    init(_ notifier: ServiceNotifier, host: HostDaemon.Host) {
        self.notifier = notifier
        self.host = host
    }

    /// On a thread of its own; does nothing when systemd does not watch.
    func start() {
        guard let period = notifier.watchdogMicroseconds else { return }
        let (notifier, host) = (notifier, host)
        let thread = Thread {
            while true {
                if host.isAlive { notifier.alive() }
                // A third of the period: one late sign is no death.
                Thread.sleep(forTimeInterval: Double(period) / 3e6)
            }
        }
        thread.name = "watchdog"
        thread.start()
    }
}
