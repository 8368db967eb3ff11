internal import Glibc
public import QMP

/// An overlay under a running guest's disk: from its insertion on the guest's writes go there and no longer to the disk's image, and its reads see
/// them. The daemon hears of every write by a mirror of the overlay, and decides when the image gets it.
///
/// The overlay (qcow2, in a file without a name) is as volatile as the guest's memory: it goes with QEMU. QEMU itself has the image open for
/// reading only, holds none of its locks, and writes to it again after `giveBack` or `bringAllHome`. An overlay that has grown large is replaced
/// by its `successor`, and dropped when the image has what it holds.
///
/// Sources: QEMU `qapi/block-core.json`, `docs/interop/live-block-operations.rst`; a device's property `drive` may be set to another node
/// while it runs (`hw/core/qdev-properties-system.c`), which waits for the requests under way.
public struct DiskOverlay: Sendable {
    /// The disk's index, and 1000 more for every overlay before this one.
    public let number: Int
    /// The node that the guest's device had before and gets back.
    let home: String
    /// Stands for a descriptor of the image, not of the overlay.
    var isImage = false
    private let name: String
    private let usesPageCache: Bool

    public var disk: Int { number % Self.step }
    var file: String { "\(Self.filePrefix)\(number)" }
    var image: String { "understudy-image-\(disk)" }
    var keeper: String { "understudy-keep-\(disk)" }
    /// What a mirror of the guest's writes copies.
    public var node: String { "\(Self.nodePrefix)\(number)" }

    static let step = 1000
    static let nodePrefix = "understudy-overlay-"
    static let filePrefix = "understudy-held-"
    /// Marks our descriptors inside QEMU, with all that a later daemon must know.
    static let mark = "understudy overlay"

    public init(index: Int, disk: BlockDevice) {
        self.init(
            number: index, home: disk.node, name: disk.name, usesPageCache: disk.usesPageCache)
    }

    init(number: Int, home: String, name: String, usesPageCache: Bool = false) {
        self.number = number
        self.home = home
        self.name = name
        self.usesPageCache = usesPageCache
    }

    /// The overlay that takes this one's place.
    public var successor: DiskOverlay {
        DiskOverlay(number: number + Self.step, home: home, name: name, usesPageCache: usesPageCache)
    }

    /// Makes the first overlay of a disk; the guest does not use it yet.
    ///
    /// - Parameters:
    ///   - image: the disk's image, open for reading, with `O_DIRECT` if QEMU bypasses the page cache for it.
    ///   - overlay: an `EmptyOverlay`, open for reading and writing.
    public func prepare(_ qmp: QMPClient, image: CInt, overlay: CInt) throws(HypervisorError) {
        let set = try add(qmp, image, "\(Self.mark) \(number) \(home) image")
        try command(
            qmp, "blockdev-add",
            [
                "driver": Self.isDevice(image) ? "host_device" : "file", "node-name": .string(self.image),
                "filename": .string("/dev/fdset/\(set)"), "read-only": true,
                "locking": "off", "cache": ["direct": .bool(!usesPageCache)],
            ])
        // A node of `-drive` goes with its last user.
        try command(qmp, "blockdev-add", ["driver": "raw", "node-name": .string(keeper), "file": .string(home)])
        try make(qmp, overlay, backing: self.image)
    }

    private static func isDevice(_ descriptor: CInt) -> Bool {
        var status = stat()
        return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFBLK
    }

    /// Makes the next overlay, above the one that the guest uses.
    public func prepare(_ qmp: QMPClient, above other: DiskOverlay, overlay: CInt) throws(HypervisorError) {
        try make(qmp, overlay, backing: other.node)
    }

    private static let volatile: JSONValue = ["direct": false, "no-flush": true]

    private func make(_ qmp: QMPClient, _ overlay: CInt, backing: String) throws(HypervisorError) {
        let set = try add(qmp, overlay, "\(Self.mark) \(number) \(home)")
        try command(
            qmp, "blockdev-add",
            [
                "driver": "file", "node-name": .string(file), "filename": .string("/dev/fdset/\(set)"), "locking": "off",
                "cache": Self.volatile,
            ])
        try command(qmp, "blockdev-add", options(backing: backing))
    }

    /// Discards are not passed on: image and overlay stay equal to the last byte.
    private func options(backing: String) -> JSONValue {
        [
            "driver": "qcow2", "node-name": .string(node), "file": .string(file), "backing": .string(backing), "cache": Self.volatile,
            "discard": "ignore",
        ]
    }

    /// Lets the guest write to the overlay from now on, through the overlay's mirror.
    ///
    /// - Parameter old: the mirror of the overlay before.
    public func insert(_ qmp: QMPClient, mirror: DiskMirror, after old: DiskMirror? = nil) throws(HypervisorError) {
        try set(qmp, from: old?.filterNode ?? home, to: mirror.filterNode)
    }

    /// Drops the overlay before this one, for an image that has everything which that one holds.
    public func drop(_ qmp: QMPClient, _ old: DiskOverlay) throws(HypervisorError) {
        try command(qmp, "blockdev-reopen", ["options": [options(backing: image)]])
        for node in [old.node, old.file] { try command(qmp, "blockdev-del", ["node-name": .string(node)]) }
        try Self.removeDescriptors(qmp) { $0.number == old.number && !$0.isImage }
    }

    /// Gives the guest its disk back, for an image that has everything which the mirror has told of; nothing happens when it has it, or when the
    /// mirror has failed. `bringAllHome` then takes the overlays away.
    public func giveBack(_ qmp: QMPClient, mirror: DiskMirror) throws(HypervisorError) {
        if try Self.usedNodes(qmp)[mirror.filterNode] != nil, try mirror.isWhole(qmp) { try set(qmp, from: mirror.filterNode, to: home) }
    }
}

extension DiskOverlay {
    private func set(_ qmp: QMPClient, from old: String, to new: String) throws(HypervisorError) {
        guard let device = try Self.usedNodes(qmp)[old], !device.isEmpty else {
            throw HypervisorError(.saveFailed, "no device of the guest uses the disk \(name) in a way that its writes could be held back")
        }
        try command(qmp, "qom-set", ["path": .string(device), "property": "drive", "value": .string(new)])
    }

    private func add(_ qmp: QMPClient, _ descriptor: CInt, _ mark: String) throws(HypervisorError) -> Int {
        let answer = try monitor { () throws(QMPError) in
            try qmp.execute("add-fd", arguments: ["opaque": .string(mark)], passing: descriptor)
        }
        guard let number = answer["fdset-id"]?.int else {
            throw HypervisorError(.monitorFailed, "QEMU's answer to add-fd names no set of descriptors")
        }
        return number
    }

    func command(_ qmp: QMPClient, _ name: String, _ arguments: JSONValue) throws(HypervisorError) {
        do throws(QMPError) {
            try qmp.execute(name, arguments: arguments)
        } catch {
            guard error.code == .commandFailed else { throw HypervisorError(error) }
            throw HypervisorError(
                .saveFailed, "the writes to the disk \(self.name) cannot be held back (\(name)): \(error.message)", cause: error)
        }
    }

    static func ask(_ qmp: QMPClient, _ name: String, _ arguments: JSONValue? = nil) throws(HypervisorError) -> JSONValue {
        try monitor { () throws(QMPError) in try qmp.execute(name, arguments: arguments) }
    }

    /// The devices' uppermost nodes, each with its device's QOM path.
    static func usedNodes(_ qmp: QMPClient) throws(HypervisorError) -> [String: String] {
        var used: [String: String] = [:]
        for drive in try ask(qmp, "query-block").array ?? [] {
            guard let node = drive["inserted"]?["node-name"]?.string else { continue }
            let device = drive["qdev"]?.string ?? ""
            used[node] = device.isEmpty || device.hasPrefix("/") ? device : "/machine/peripheral/\(device)"
        }
        return used
    }
}
