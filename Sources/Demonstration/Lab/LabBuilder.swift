import Glibc

/// Makes a laboratory.
struct LabBuilder {
    let stateFolder: String
    let prefix: String

    func build() throws(DemonstrationError) -> Lab {
        guard geteuid() == 0 else {
            throw DemonstrationError(.prerequisiteMissing, "the demo makes network namespaces: run it as root")
        }
        guard LabSystem.hasProgram("ip") else {
            throw DemonstrationError(.prerequisiteMissing, "`ip` is missing: apt-get install iproute2")
        }
        try LabFiles.makeFolder(stateFolder)
        let lock = try LabLock.take(in: stateFolder)
        do throws(DemonstrationError) {
            for name in try LabFiles.names(in: stateFolder) where name.hasPrefix("run-") && !name.hasSuffix(".cleanup.log") {
                try LabGuard.removeStale(folder: "\(stateFolder)/\(name)")
            }
            return try build(lock: lock)
        } catch {
            close(lock)
            throw error
        }
    }

    private func build(lock: Int32) throws(DemonstrationError) -> Lab {
        let identifier = String(UInt32.random(in: 0x1000_0000...UInt32.max), radix: 16)
        let folder = "\(stateFolder)/run-\(identifier)"
        let hosts = ["host1", "host2", "client", "arbiter"].map { name in
            LabHost(name: name, namespace: "\(prefix)-\(identifier)-\(name)", folder: "\(folder)/\(name)")
        }
        for host in hosts { try LabFiles.makeFolder(host.folder) }
        try LabFiles.write(hosts.map(\.namespace).joined(separator: "\n") + "\n", to: folder + "/namespaces")
        let guardian = try LabGuard(folder: folder, lock: lock)
        do throws(DemonstrationError) {
            try IPCommand.run(hosts.map { "netns add \($0.namespace)" }, folder: folder)
            for host in hosts { try quieten(host) }
            try IPCommand.run(cables(hosts), folder: folder)
            for host in hosts { try IPCommand.run(commands(for: host), in: host.namespace, folder: folder) }
            let cutters = [try LinkCutter(host: hosts[0]), try LinkCutter(host: hosts[1])]
            guardian.beforeCleanUp {
                for cutter in cutters { cutter.close() }
                close(lock)
            }
            return Lab(identifier: identifier, folder: folder, hosts: hosts, guardian: guardian, cutters: cutters)
        } catch {
            do throws(DemonstrationError) {
                try guardian.cleanUp()
            } catch let second {
                throw DemonstrationError(error.code, "\(error); and then \(second.message)", cause: second)
            }
            throw error
        }
    }

    /// No IPv6: its neighbour discovery would put frames of its own on the networks.
    private func quieten(_ host: LabHost) throws(DemonstrationError) {
        try host.run { () throws(DemonstrationError) in
            for scope in ["all", "default"] {
                let setting = "/proc/sys/net/ipv6/conf/\(scope)/disable_ipv6"
                if access(setting, F_OK) == 0 { try LabFiles.write("1\n", to: setting) }
            }
        }
    }

    private func cables(_ hosts: [LabHost]) -> [String] {
        func cable(_ name: String, _ host: LabHost, to peer: String, _ other: LabHost) -> String {
            "link add \(name) netns \(host.namespace) type veth peer name \(peer) netns \(other.namespace)"
        }
        let (host1, host2, client, arbiter) = (hosts[0], hosts[1], hosts[2], hosts[3])
        return [
            cable(LabAddresses.hostReplicationLink, host1, to: LabAddresses.hostReplicationLink, host2),
            cable(LabAddresses.hostClientLink, host1, to: LabAddresses.switchPortOfHost1, client),
            cable(LabAddresses.hostClientLink, host2, to: LabAddresses.switchPortOfHost2, client),
            cable(LabAddresses.hostArbiterLink, host1, to: LabAddresses.switchPortOfHost1, arbiter),
            cable(LabAddresses.hostArbiterLink, host2, to: LabAddresses.switchPortOfHost2, arbiter),
        ]
    }

    private func commands(for host: LabHost) -> [String] {
        switch host.name {
        case "host1": hostCommands(replication: LabAddresses.host1Replication, arbiter: LabAddresses.host1Arbiter)
        case "host2": hostCommands(replication: LabAddresses.host2Replication, arbiter: LabAddresses.host2Arbiter)
        case "client": switchCommands(address: LabAddresses.client)
        default: switchCommands(address: LabAddresses.arbiter)
        }
    }

    /// A bridge with learning and forwarding from the first frame on, as a plain switch has them.
    private func bridge(_ name: String, ports: [String]) -> [String] {
        ["link add \(name) type bridge forward_delay 0 stp_state 0 mcast_snooping 0", "link set \(name) up"]
            + ports.flatMap { ["link set \($0) master \(name)", "link set \($0) up"] }
    }

    private func hostCommands(replication: String, arbiter: String) -> [String] {
        ["link set lo up", "tuntap add dev \(LabAddresses.tap) mode tap vnet_hdr"]
            + bridge(LabAddresses.bridge, ports: [LabAddresses.tap, LabAddresses.hostClientLink]) + [
                "addr add \(replication)/24 dev \(LabAddresses.hostReplicationLink)",
                "link set \(LabAddresses.hostReplicationLink) up",
                "addr add \(arbiter)/24 dev \(LabAddresses.hostArbiterLink)",
                "link set \(LabAddresses.hostArbiterLink) up",
            ]
            + [LabAddresses.hostClientLink, LabAddresses.hostReplicationLink, LabAddresses.hostArbiterLink]
            .map { "link set \($0) group \(LinkCutter.group)" }
    }

    private func switchCommands(address: String) -> [String] {
        ["link set lo up"]
            + bridge(LabAddresses.clientSwitch, ports: [LabAddresses.switchPortOfHost1, LabAddresses.switchPortOfHost2])
            + ["addr add \(address)/24 dev \(LabAddresses.clientSwitch)"]
    }
}
