public import QMP
public import UnderstudyCore

/// What a running QEMU is: enough to judge whether it can be protected, to track its memory and to start its standby.
public struct MachineDescription: Codable, Sendable, Equatable {
    public var process: ProcessDescription
    public var version: QMPVersion
    /// The QOM type of `/machine` without `-machine`, for instance `pc-q35-7.2`: always versioned.
    public var machineType: String
    /// `kvm`, `tcg` or another name of an accelerator.
    public var accelerator: String
    /// Guest RAM in bytes, hot-plugged memory included.
    public var memorySize: UInt64
    /// Every RAM block, video RAM and ROMs included, in QEMU's order.
    public var ramBlocks: [RAMBlock]
    public var memoryBackends: [MemoryBackend]
    public var cpuCount: Int
    public var networkBackends: [NetworkBackend]
    public var networkCards: [NetworkCard]
    public var blockDevices: [BlockDevice]
    public var characterDevices: [CharacterDevice]
    /// Every device of the QOM tree.
    public var devices: [Device]
    public var trustedPlatformModules: [TrustedPlatformModule]
    /// The GUID of `vmgenid`, when there is one.
    public var generationID: String?
    public var name: String?
    public var uuid: String?
    /// Why QEMU says that this machine cannot be migrated; empty when it can.
    public var blockedReasons: [String]
    /// `query-status` when the description was made.
    public var status: String

    public init(
        process: ProcessDescription, version: QMPVersion, machineType: String, accelerator: String = "tcg", memorySize: UInt64 = 0,
        ramBlocks: [RAMBlock] = [], memoryBackends: [MemoryBackend] = [], cpuCount: Int = 1, networkBackends: [NetworkBackend] = [],
        networkCards: [NetworkCard] = [], blockDevices: [BlockDevice] = [], characterDevices: [CharacterDevice] = [],
        devices: [Device] = [], trustedPlatformModules: [TrustedPlatformModule] = [], generationID: String? = nil, name: String? = nil,
        uuid: String? = nil, blockedReasons: [String] = [], status: String = "running"
    ) {
        self.process = process
        self.version = version
        self.machineType = machineType
        self.accelerator = accelerator
        self.memorySize = memorySize
        self.ramBlocks = ramBlocks
        self.memoryBackends = memoryBackends
        self.cpuCount = cpuCount
        self.networkBackends = networkBackends
        self.networkCards = networkCards
        self.blockDevices = blockDevices
        self.characterDevices = characterDevices
        self.devices = devices
        self.trustedPlatformModules = trustedPlatformModules
        self.generationID = generationID
        self.name = name
        self.uuid = uuid
        self.blockedReasons = blockedReasons
        self.status = status
    }
}

extension MachineDescription {
    /// The disks that the guest may change: what is replicated.
    public var writableDisks: [BlockDevice] { blockDevices.filter { $0.file != nil && !$0.isReadOnly } }
}

extension HypervisorError.Code {
    /// The process behind the monitor could not be found or verified.
    public static let processNotFound = Self(rawValue: "processNotFound")
    /// The host address of a RAM block could not be found.
    public static let ramBlockNotFound = Self(rawValue: "ramBlockNotFound")
    /// Several places of the process could be the same RAM block.
    public static let ramBlockAmbiguous = Self(rawValue: "ramBlockAmbiguous")
    /// QEMU's answer to a question has an unknown form.
    public static let unknownAnswer = Self(rawValue: "unknownAnswer")
}
