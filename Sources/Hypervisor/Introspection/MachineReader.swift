import Glibc
internal import QMP
import UnderstudyCore

/// Asks one QEMU everything that a `MachineDescription` holds.
struct MachineReader {
    let qmp: QMPClient

    func ask(_ command: String, _ arguments: JSONValue? = nil) throws(HypervisorError) -> JSONValue {
        try monitor { () throws(QMPError) in try qmp.execute(command, arguments: arguments) }
    }

    /// Nil when QEMU does not know the command or has no such device.
    func askIfPossible(_ command: String, _ arguments: JSONValue? = nil) throws(HypervisorError) -> JSONValue? {
        do throws(QMPError) {
            return try qmp.execute(command, arguments: arguments)
        } catch {
            if error.code == .commandFailed { return nil }
            throw HypervisorError(error)
        }
    }

    func human(_ line: String) throws(HypervisorError) -> String {
        try monitor { () throws(QMPError) in try qmp.humanMonitor(line) }
    }

    func machineType() throws(HypervisorError) -> String {
        guard let type = try ask("qom-get", ["path": "/machine", "property": "type"]).string else {
            throw HypervisorError(.unknownAnswer, "QEMU does not tell the type of its machine")
        }
        return type.hasSuffix("-machine") ? String(type.dropLast("-machine".count)) : type
    }

    func accelerator(arguments: [String]) throws(HypervisorError) -> String {
        if try askIfPossible("query-kvm")?["enabled"]?.bool == true { return "kvm" }
        for (option, value) in zip(arguments, arguments.dropFirst()) where option == "-accel" || option == "--accel" {
            if let name = value.split(separator: ",").first, !name.hasPrefix("kvm") { return String(name) }
        }
        return "tcg"
    }

    func memorySize() throws(HypervisorError) -> UInt64 {
        let answer = try ask("query-memory-size-summary")
        guard let base = answer["base-memory"]?.uint64 else { throw HypervisorError(.unknownAnswer, "QEMU does not tell its memory size") }
        let (size, overflow) = base.addingReportingOverflow(answer["plugged-memory"]?.uint64 ?? 0)
        guard !overflow else { throw HypervisorError(.unknownAnswer, "QEMU tells an impossible memory size") }
        return size
    }

    func memoryBackends() throws(HypervisorError) -> [MemoryBackend] {
        let types = try children(of: "/objects")
        return try (ask("query-memdev").array ?? []).enumerated().map { (index, backend) throws(HypervisorError) in
            guard let size = backend["size"]?.uint64, let isShared = backend["share"]?.bool else {
                throw HypervisorError(.unknownAnswer, "QEMU's answer to query-memdev has an unknown form")
            }
            let id = backend["id"]?.string ?? "memory\(index)"
            let type = types.first { $0.path == "/objects/\(id)" }?.type ?? "memory-backend-ram"
            return MemoryBackend(id: id, type: type, size: size, isShared: isShared)
        }
    }

    /// The children of a QOM path that are objects of their own.
    func children(of path: String) throws(HypervisorError) -> [Device] {
        (try askIfPossible("qom-list", ["path": .string(path)])?.array ?? []).compactMap { entry in
            guard let name = entry["name"]?.string, let type = entry["type"]?.string, type.hasPrefix("child<"), type.hasSuffix(">") else {
                return nil
            }
            return Device(path: "\(path)/\(name)", type: String(type.dropFirst(6).dropLast()))
        }
    }

    func devices() throws(HypervisorError) -> [Device] {
        var devices: [Device] = []
        for folder in ["peripheral", "peripheral-anon", "unattached"] { devices += try children(of: "/machine/\(folder)") }
        return devices.filter { !["memory-region", "qemu:memory-region", "irq", "container"].contains($0.type) }
    }

    /// The id of a device that has one: `/machine/peripheral/d0/virtio-backend` is `d0`.
    private static func deviceName(_ path: String) -> String {
        let parts = path.split(separator: "/")
        return parts.count > 2 && parts[1] == "peripheral" ? String(parts[2]) : path
    }

    func blockDevices() throws(HypervisorError) -> [BlockDevice] {
        try (ask("query-block").array ?? []).map { (drive) throws(HypervisorError) in
            let names = [
                drive["device"]?.string, drive["qdev"]?.string.map(Self.deviceName), drive["inserted"]?["node-name"]?.string,
            ]
            let medium = drive["inserted"]
            guard medium == nil || medium?["ro"]?.bool != nil else {
                throw HypervisorError(.unknownAnswer, "QEMU's answer to query-block has an unknown form")
            }
            return BlockDevice(
                name: names.compactMap { $0 }.first { !$0.isEmpty } ?? "unnamed", file: medium?["file"]?.string,
                driver: medium?["drv"]?.string,
                isReadOnly: medium?["ro"]?.bool ?? true, isRemovable: drive["removable"]?.bool ?? false,
                node: medium?["node-name"]?.string ?? "", byteCount: medium?["image"]?["virtual-size"]?.uint64 ?? 0,
                usesPageCache: medium?["cache"]?["direct"]?.bool == false && medium?["cache"]?["no-flush"]?.bool == false,
                allocatedBytes: medium?["image"]?["actual-size"]?.uint64)
        }
    }

    func characterDevices() throws(HypervisorError) -> [CharacterDevice] {
        (try ask("query-chardev").array ?? []).compactMap { device in
            guard let label = device["label"]?.string, let filename = device["filename"]?.string else { return nil }
            return CharacterDevice(label: label, filename: filename)
        }
    }

    func trustedPlatformModules() throws(HypervisorError) -> [TrustedPlatformModule] {
        (try askIfPossible("query-tpm")?.array ?? []).compactMap { module in
            guard let id = module["id"]?.string, let model = module["model"]?.string else { return nil }
            return TrustedPlatformModule(id: id, model: model)
        }
    }

    func networks(process: Int32) throws(HypervisorError) -> (backends: [NetworkBackend], cards: [NetworkCard]) {
        let listing = NetworkListing(parsing: try human("info network"))
        return (try OpenDescriptors(process: process).complete(listing.backends), listing.cards)
    }

    func ramBlocks(process: Int32) throws(HypervisorError) -> [RAMBlock] {
        let listings = try RAMBlockListing.parse(try human("info ramblock"))
        let knowsAddresses = listings.allSatisfy { $0.hostAddress != nil }
        let memory = ProcessMemory(process: process)
        let locator = RAMBlockLocator(
            listings: listings, sections: knowsAddresses ? [] : MappedSection.parse(try human("info mtree -f")),
            map: MemoryMap(mappings: try MemoryMapping.parse(try ProcessFile.text("/proc/\(process)/maps"))),
            translate: { (address) throws(HypervisorError) in
                Self.translation(in: try human("gpa2hva 0x" + String(address, radix: 16)))
            },
            read: { (address, length) throws(HypervisorError) in try memory.read(address, length) })
        return try locator.locate()
    }

    /// `Host virtual address for 0xfffc0000 (pc.bios) is 0x7fc211600000`
    static func translation(in answer: String) -> (address: UInt64, region: String)? {
        guard let open = answer.firstIndex(of: "("), let close = answer.lastIndex(of: ")"), open < close else { return nil }
        let words = answer[close...].split(whereSeparator: \.isWhitespace)
        guard answer.hasPrefix("Host virtual address"), let last = words.last, let address = RAMBlockListing.hexadecimal(last) else {
            return nil
        }
        return (address, String(answer[answer.index(after: open)..<close]))
    }
}

/// Reads single ranges of another process's memory.
struct ProcessMemory {
    let process: Int32

    func read(_ address: UInt64, _ length: Int) throws(HypervisorError) -> [UInt8] {
        let path = "/proc/\(process)/mem"
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0, let start = off_t(exactly: address) else { throw ProcessFile.failure("opening", path) }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: length)
        var done = 0
        while done < length {
            // SAFETY: the target is inside the array, which is alive during the call.
            let count = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress! + done, length - done, start + off_t(done)) }
            guard count > 0 else { throw ProcessFile.failure("reading", path) }
            done += count
        }
        return bytes
    }
}
