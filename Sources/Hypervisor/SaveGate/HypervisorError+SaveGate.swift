extension HypervisorError.Code {
    /// The guest is not running (paused, suspended, shut down): there is nothing to checkpoint.
    public static let notRunning = Self(rawValue: "notRunning")
    /// The device state does not fit the arena; the guest runs on, the gate must be renewed.
    public static let stateTooLarge = Self(rawValue: "stateTooLarge")
    /// QEMU reported an error after the cut; the guest runs on, the gate must be renewed.
    public static let saveFailed = Self(rawValue: "saveFailed")
    /// What came through the gate is not a device state, or the guest resumed before the gate was drained.
    public static let gateViolated = Self(rawValue: "gateViolated")
    /// The gate was used out of order, or is spoilt and was not renewed.
    public static let gateNotReady = Self(rawValue: "gateNotReady")
}
