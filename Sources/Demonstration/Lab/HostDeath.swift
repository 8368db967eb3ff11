/// The instants of a host's death, `MonotonicTime` nanoseconds.
public struct HostDeath: Sendable {
    /// Just before the kernel was asked. It may have to wait for its lock on all network devices first, with every link still up.
    public let startedAt: UInt64
    /// All links were down: nothing has left the host since. The moment of death for the verdict.
    public let linksDownAt: UInt64
    /// SIGKILL had been sent to every process.
    public let killedAt: UInt64
}
