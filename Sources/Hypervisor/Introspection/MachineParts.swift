/// A backend of guest RAM (`query-memdev`, `-object memory-backend-*`).
public struct MemoryBackend: Codable, Sendable, Equatable {
    public var id: String
    /// The QOM type, for instance `memory-backend-ram`, `memory-backend-memfd`, `memory-backend-file`.
    public var type: String
    public var size: UInt64
    /// Whether the mapping is shared (`share=on`).
    public var isShared: Bool

    public init(id: String, type: String, size: UInt64, isShared: Bool) {
        self.id = id
        self.type = type
        self.size = size
        self.isShared = isShared
    }
}

/// The host's side of a network card (`-netdev`).
public struct NetworkBackend: Codable, Sendable, Equatable {
    public var id: String
    /// `tap`, `user`, `socket`, `vhost-user`, `vhost-vdpa`, ...
    public var type: String
    /// The host's interface of a tap or macvtap.
    public var interface: String?
    /// Whether vhost-net serves it.
    public var isVhost: Bool
    /// The number of queues.
    public var queues: Int

    public init(id: String, type: String, interface: String? = nil, isVhost: Bool = false, queues: Int = 1) {
        self.id = id
        self.type = type
        self.interface = interface
        self.isVhost = isVhost
        self.queues = queues
    }
}

/// A network card of the guest.
public struct NetworkCard: Codable, Sendable, Equatable {
    /// The id of the device, or a name that QEMU gave it.
    public var name: String
    public var model: String
    /// `52:54:00:12:34:56`, in lower case.
    public var macAddress: String
    /// The `NetworkBackend` it is connected to.
    public var backend: String?

    public init(name: String, model: String, macAddress: String, backend: String?) {
        self.name = name
        self.model = model
        self.macAddress = macAddress
        self.backend = backend
    }
}

/// A disk, CD drive or flash chip (`query-block`).
public struct BlockDevice: Codable, Sendable, Equatable {
    /// The drive's name, its device's id or its QOM path, whichever there is.
    public var name: String
    /// The file or URI behind it; nil for an empty drive.
    public var file: String?
    public var driver: String?
    public var isReadOnly: Bool
    public var isRemovable: Bool
    /// The uppermost node of its block graph, which QEMU names itself where nobody else did; empty for an empty drive.
    public var node: String
    /// What the guest sees of it, in bytes.
    public var byteCount: UInt64
    /// Whether its writes stay in the host's page cache until the guest flushes them (`cache.direct=off`).
    public var usesPageCache: Bool
    /// Bytes that its image takes of the host's storage; nil when QEMU does not tell.
    public var allocatedBytes: UInt64?

    public init(
        name: String, file: String?, driver: String?, isReadOnly: Bool, isRemovable: Bool, node: String = "", byteCount: UInt64 = 0,
        usesPageCache: Bool = false, allocatedBytes: UInt64? = nil
    ) {
        self.name = name
        self.file = file
        self.driver = driver
        self.isReadOnly = isReadOnly
        self.isRemovable = isRemovable
        self.node = node
        self.byteCount = byteCount
        self.usesPageCache = usesPageCache
        self.allocatedBytes = allocatedBytes
    }
}

/// A character device (`query-chardev`).
public struct CharacterDevice: Codable, Sendable, Equatable {
    public var label: String
    public var filename: String

    public init(label: String, filename: String) {
        self.label = label
        self.filename = filename
    }
}

/// A device of the QOM tree.
public struct Device: Codable, Sendable, Equatable {
    /// The QOM path, for instance `/machine/peripheral/net0`.
    public var path: String
    /// The QOM type, for instance `virtio-net-pci`.
    public var type: String
    /// The last part of the path: its id, if it has one.
    public var name: String { path.split(separator: "/").last.map(String.init) ?? path }

    public init(path: String, type: String) {
        self.path = path
        self.type = type
    }
}

/// A TPM (`query-tpm`).
public struct TrustedPlatformModule: Codable, Sendable, Equatable {
    public var id: String
    /// `tpm-crb`, `tpm-tis`, `tpm-spapr`.
    public var model: String

    public init(id: String, model: String) {
        self.id = id
        self.model = model
    }
}
