/// How a demonstration is run.
public struct DemoOptions: Sendable {
    /// Path of `understudyd`.
    public var daemon: String
    /// QEMU's program.
    public var qemu: String
    public var intervalMilliseconds: Double
    /// Pages that the guest writes in every 25 ms.
    public var dirtyPages: Int
    /// Decides the moment of the first host's death.
    public var seed: UInt64
    /// Opens the output gate: the verdict must then fail.
    public var unsafeNoOutputCommit: Bool
    /// Gives the guest a disk, where its service writes every request before it replies.
    public var hasDisk: Bool

    public init(
        daemon: String, qemu: String = "qemu-system-x86_64", intervalMilliseconds: Double = 25, dirtyPages: Int = 500,
        seed: UInt64 = UInt64.random(in: 1...999_999_999), unsafeNoOutputCommit: Bool = false, hasDisk: Bool = true
    ) {
        self.daemon = daemon
        self.qemu = qemu
        self.intervalMilliseconds = intervalMilliseconds
        self.dirtyPages = dirtyPages
        self.seed = seed
        self.unsafeNoOutputCommit = unsafeNoOutputCommit
        self.hasDisk = hasDisk
    }
}
