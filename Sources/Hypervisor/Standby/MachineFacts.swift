/// What the primary's argument list does not say, learned from the running QEMU.
public struct MachineFacts: Codable, Sendable, Equatable {
    /// A tap behind one of the guest's network cards.
    public struct Tap: Codable, Sendable, Equatable {
        /// The interface's name in the primary's network namespace.
        public var name: String
        /// Whether frames carry a virtio-net header (`IFF_VNET_HDR`): it decides which offloads the guest's card has.
        public var vnetHeader: Bool
        /// Number of queues; 1 for an ordinary tap.
        public var queues: Int

        public init(name: String, vnetHeader: Bool = true, queues: Int = 1) {
            self.name = name
            self.vnetHeader = vnetHeader
            self.queues = queues
        }
    }

    /// QEMU's program file (`/proc/PID/exe`).
    public var executable: String
    /// QEMU's working directory (`/proc/PID/cwd`), to which relative paths of the command line refer.
    public var workingDirectory: String
    /// QOM type of `/machine` without `-machine`, for instance `pc-q35-7.2`: an alias such as `q35` is pinned to it.
    public var machineType: String
    /// GUID of the `vmgenid` device (`query-vm-generation-id`); nil without one.
    public var vmGenerationID: String?
    /// Taps by netdev id, in QEMU's order. The id is the one QEMU reports, also for netdevs that the command line left unnamed.
    public var taps: [String: Tap]
    /// Ids of devices that the argument list names and that were taken out of the running machine.
    public var unpluggedDevices: Set<String>

    public init(
        executable: String, workingDirectory: String, machineType: String, vmGenerationID: String? = nil, taps: [String: Tap] = [:],
        unpluggedDevices: Set<String> = []
    ) {
        self.executable = executable
        self.workingDirectory = workingDirectory
        self.machineType = machineType
        self.vmGenerationID = vmGenerationID
        self.taps = taps
        self.unpluggedDevices = unpluggedDevices
    }
}
