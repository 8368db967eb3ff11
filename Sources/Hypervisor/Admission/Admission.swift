/// Everything that keeps `machine` from being protected on `host`; empty when it can be.
///
/// A pure judgement over what was read: nothing is asked or touched.
public func refusals(machine: MachineDescription, host: HostFacts) -> [Refusal] {
    hostRefusals(host) + stateRefusals(machine) + deviceRefusals(machine) + diskRefusals(machine) + networkRefusals(machine, host)
}

private func hostRefusals(_ host: HostFacts) -> [Refusal] {
    var refusals: [Refusal] = []
    let needed = KernelVersion(major: 6, minor: 7)
    if host.kernel < needed {
        refusals.append(
            Refusal(
                .kernelTooOld, "this host runs Linux \(host.kernel), and dirty pages can be tracked from \(needed) on",
                remedy: "boot a kernel of \(needed) or later (on Debian 12: linux-image-amd64 from the backports suite)"))
    }
    if !host.canTrace {
        refusals.append(
            Refusal(
                .missingTracePrivilege, "this process may not trace QEMU (CAP_SYS_PTRACE is missing, or kernel.yama.ptrace_scope is 3)",
                remedy:
                    "run understudyd as root or give its service AmbientCapabilities=CAP_SYS_PTRACE; set kernel.yama.ptrace_scope to 2 or less"
            ))
    }
    if !host.canAdministerNetwork {
        refusals.append(
            Refusal(
                .missingNetworkPrivilege, "this process may not configure the network (CAP_NET_ADMIN is missing)",
                remedy: "run understudyd as root or give its service AmbientCapabilities=CAP_NET_ADMIN"))
    }
    if !host.hasTunDevice {
        refusals.append(
            Refusal(
                .missingTunDevice, "/dev/net/tun cannot be opened",
                remedy: "load the module (modprobe tun) and let understudyd open /dev/net/tun (DeviceAllow=/dev/net/tun rw)"))
    }
    return refusals
}

private func stateRefusals(_ machine: MachineDescription) -> [Refusal] {
    var refusals = machine.blockedReasons.map { reason in
        Refusal(
            .migrationBlocker, "QEMU says that this machine cannot be migrated: \(reason)",
            remedy: "remove the device or option that QEMU names (device_del while it runs, or a restart without it)")
    }
    if machine.status != "running" {
        refusals.append(
            Refusal(
                .notRunning, "the guest is not running but \(machine.status)",
                remedy: "let it run first (QMP cont, system_wakeup, or start it again) and repeat"))
    }
    return refusals
}

private func deviceRefusals(_ machine: MachineDescription) -> [Refusal] {
    var refusals: [Refusal] = []
    for device in machine.devices {
        let name = device.displayName
        if device.type.hasPrefix("vhost-user-") {
            refusals.append(Refusal.vhostUser("the device \(name)"))
        } else if device.type.hasPrefix("vfio-") {
            refusals.append(
                Refusal(
                    .vfio, "\(name) passes a host device through (VFIO), whose writes to memory cannot be tracked",
                    remedy: "replace it by an emulated or virtio device"))
        } else if device.type.hasPrefix("vhost-vdpa") {
            refusals.append(Refusal.vdpa("the device \(name)"))
        } else if device.type.hasPrefix("ivshmem") || device.type == "x-pci-proxy-dev" {
            refusals.append(
                Refusal(
                    .sharedMemoryDevice, "\(name) lets other processes write what the guest sees, which cannot be tracked",
                    remedy: "start the machine without it"))
        }
    }
    for module in machine.trustedPlatformModules where module.model.hasSuffix("crb") {
        refusals.append(
            Refusal(
                .tpmCRB, "the TPM \(module.id) is a tpm-crb, which writes guest memory while the machine is being saved",
                remedy: "use -device tpm-tis instead of tpm-crb"))
    }
    return refusals + balloonRefusals(machine)
}

/// Pages that are punched out of a memfd or file are not reported as written, whether its mapping is shared or private.
private func balloonRefusals(_ machine: MachineDescription) -> [Refusal] {
    guard let backed = machine.memoryBackends.first(where: { $0.isShared || $0.type != "memory-backend-ram" }) else { return [] }
    return machine.devices.filter { $0.type.hasPrefix("virtio-balloon") || $0.type.hasPrefix("virtio-mem") }.map { device in
        Refusal(
            .balloonWithSharedMemory,
            "\(device.displayName) takes memory out of the backend \(backed.id) (\(backed.type)\(backed.isShared ? ", shared" : "")), and such holes cannot be tracked",
            remedy: "remove the balloon (device_del), or start the machine with private anonymous memory (memory-backend-ram, share=off)")
    }
}

private func diskRefusals(_ machine: MachineDescription) -> [Refusal] {
    let drives = machine.blockDevices.filter { $0.file != nil && !$0.isReadOnly && ($0.node.isEmpty || $0.byteCount == 0) }.map { drive in
        Refusal(
            .writableDisk,
            "\(drive.name) (\(drive.file ?? "")) is writable, and QEMU does not say what it is, so that it cannot be replicated",
            remedy: "attach it read-only (readonly=on), or detach it")
    }
    let modules = machine.devices.filter { $0.type == "nvdimm" || $0.type.hasPrefix("virtio-pmem") }.map { device in
        Refusal(
            .writableDisk, "\(device.displayName) keeps its content in a file of the host, which cannot be replicated",
            remedy: "start the machine without persistent memory")
    }
    return drives + modules
}

private func networkRefusals(_ machine: MachineDescription, _ host: HostFacts) -> [Refusal] {
    var refusals: [Refusal] = []
    for backend in machine.networkBackends {
        if backend.type == "vhost-user" { refusals.append(Refusal.vhostUser("the network \(backend.id)")) }
        if backend.type.hasPrefix("vhost-vdpa") { refusals.append(Refusal.vdpa("the network \(backend.id)")) }
    }
    if machine.networkCards.isEmpty {
        let what = "the machine has no network card, so that nobody could reach it after a takeover"
        return refusals + [Refusal(.noNetworkCard, what, remedy: "add one network card, best on a tap in a bridge")]
    }
    var taps: Set<String> = []
    for card in machine.networkCards {
        let backend = machine.networkBackends.first { $0.id == card.backend }
        if backend?.type == "vhost-user" || backend?.type.hasPrefix("vhost-vdpa") == true { continue }
        if let refusal = tapRefusal(of: card, machine, host) {
            refusals.append(refusal)
        } else if let tap = backend?.interface, !taps.insert(tap).inserted {
            refusals.append(
                Refusal(
                    .sharedTap, "the network card \(card.name) shares the tap \(tap) with another card",
                    remedy: "give every card a tap of its own"))
        }
    }
    return refusals
}

/// What is wrong with a netdev whose output would be held inside QEMU; nil when nothing is.
private func filterRefusal(of card: NetworkCard, _ backend: NetworkBackend) -> Refusal? {
    // QEMU's own names (`#net012`) and those of hubs cannot be given on a command line.
    guard backend.id.first?.isLetter == true, backend.id.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || "-._".contains($0)) })
    else {
        return Refusal(
            .netdevWithoutName, "the \(backend.type) network of the card \(card.name) has no id, so that a standby's cannot be kept silent",
            remedy: "start the machine with -netdev \(backend.type),id=NAME and -device with netdev=NAME")
    }
    return nil
}

/// What is wrong with the host's side of a card; nil when it is a tap in a bridge of this namespace, or a netdev that can be held in QEMU.
private func tapRefusal(of card: NetworkCard, _ machine: MachineDescription, _ host: HostFacts) -> Refusal? {
    let backend = machine.networkBackends.first { $0.id == card.backend }
    if let backend, backend.isFilterable { return filterRefusal(of: card, backend) }
    guard let backend, backend.type == "tap" || backend.type == "bridge" else {
        let why = backend?.type == "user" ? ", whose connections live in this QEMU and end with it" : ""
        return Refusal(
            .networkBackendNotTap,
            "the network card \(card.name) is connected to \(backend.map { "a backend of type \($0.type)" } ?? "nothing")\(why)",
            remedy:
                "use -netdev tap with the tap in a bridge (with netdev=, not through a hub), or -netdev stream, dgram or socket to a switch"
        )
    }
    let interface = host.interfaces.first { $0.name == backend.interface }
    if backend.interface?.hasPrefix("/dev/tap") == true || interface?.kind.hasPrefix("macv") == true || interface?.kind == "ipvtap" {
        return Refusal(
            .macvtap, "the network \(backend.id) is a macvtap (\(backend.interface ?? "")), whose frames cannot be held back",
            remedy: "use a tap in a bridge")
    }
    if !host.sharesNetworkNamespace {
        return Refusal(
            .otherNetworkNamespace, "QEMU lives in another network namespace than understudyd, which therefore cannot reach its tap",
            remedy: "run understudyd in the same network namespace (ip netns exec)")
    }
    guard let interface, interface.kind == "tun" else {
        return Refusal(
            .tapNotFound, "the host's interface of \(backend.id) (\(backend.interface ?? "unknown")) was not found among its taps",
            remedy: "use -netdev tap,ifname=NAME with a tap of this host")
    }
    guard interface.masterKind == "bridge" else {
        return Refusal(
            .tapNotInBridge,
            interface.master.map {
                "the tap \(interface.name) belongs to \($0), which is no Linux bridge (\(interface.masterKind ?? "unknown"))"
            }
                ?? "the tap \(interface.name) is in no bridge",
            remedy: "put it into a bridge: ip link set \(interface.name) master BRIDGE")
    }
    return nil
}

extension Device {
    /// The id for a device that has one, otherwise its type.
    fileprivate var displayName: String {
        let id = path.split(separator: "/").last.map(String.init) ?? path
        return path.hasPrefix("/machine/peripheral/") ? "\(id) (\(type))" : type
    }
}

extension Refusal {
    fileprivate static func vhostUser(_ what: String) -> Refusal {
        Refusal(
            .vhostUser, "\(what) is served by another process (vhost-user), whose writes to memory cannot be tracked",
            remedy: "use an ordinary virtio device (for networks: -netdev tap)")
    }

    fileprivate static func vdpa(_ what: String) -> Refusal {
        Refusal(
            .vdpa, "\(what) is served by hardware (vDPA), whose writes to memory cannot be tracked",
            remedy: "use an ordinary virtio device (for networks: -netdev tap)")
    }
}
