internal import HostAPI

/// One machine's tenure on this host, as primary or as backup.
protocol MachineSession: AnyObject, Sendable {
    var name: String { get }
    var status: MachineStatus { get }
    /// True when nothing of it runs any more, so that its name may be used again.
    var isOver: Bool { get }
    /// What is counted of it for `/metrics`.
    var metrics: MachineMetrics { get }
    /// Nanoseconds since its thread last went round; 0 while nothing depends on that.
    var standstill: UInt64 { get }
    /// Ends protection and returns when that is done.
    func unprotect() throws(HostDaemonError)
    /// Moves the machine to its backup and returns when its guest runs there and nothing of it is left here.
    ///
    /// - Parameter goOn: false when nobody waits any more; the switchover itself goes on.
    func switchover(_ request: SwitchoverRequest, goOn: () -> Bool) throws(HostDaemonError) -> SwitchoverReport
}
