/// The descriptors of a QEMU process that tell about its network.
struct OpenDescriptors: Equatable {
    /// What each descriptor points to.
    var targets: [Int: String] = [:]
    /// The host interface behind each descriptor of `/dev/net/tun`.
    var tunInterfaces: [Int: String] = [:]

    init(targets: [Int: String] = [:], tunInterfaces: [Int: String] = [:]) {
        self.targets = targets
        self.tunInterfaces = tunInterfaces
    }

    /// Reads `/proc/PID/fd` and, for taps, the line `iff:` of `/proc/PID/fdinfo`.
    init(process: Int32) throws(HypervisorError) {
        for name in try ProcessFile.names(in: "/proc/\(process)/fd") {
            // A descriptor that was closed since the listing is no descriptor of the machine's network.
            guard let number = Int(name), let target = try? ProcessFile.link("/proc/\(process)/fd/\(name)") else { continue }
            targets[number] = target
            guard target == "/dev/net/tun", let info = try? ProcessFile.text("/proc/\(process)/fdinfo/\(name)") else { continue }
            for line in info.split(separator: "\n") where line.hasPrefix("iff:") {
                tunInterfaces[number] = line.dropFirst(4).trimmedSpace
            }
        }
    }

    var usesVhost: Bool { targets.values.contains("/dev/vhost-net") }

    /// Completes backends whose interface QEMU does not print: descriptors passed by a manager, or by the bridge helper.
    func complete(_ listed: [(backend: NetworkBackend, properties: [String: String])]) -> [NetworkBackend] {
        let known = Set(listed.compactMap(\.backend.interface))
        let unclaimed = Set(tunInterfaces.values).subtracting(known)
        let taps = listed.filter { $0.backend.type == "tap" }
        return listed.map { entry in
            var backend = entry.backend
            guard backend.type == "tap" || backend.type == "bridge" else { return backend }
            backend.isVhost = usesVhost
            guard backend.interface == nil else { return backend }
            if let number = entry.properties["fd"].flatMap({ Int($0) }) {
                backend.interface = tunInterfaces[number] ?? targets[number].flatMap { $0.hasPrefix("/dev/tap") ? $0 : nil }
            }
            if backend.interface == nil, taps.count == 1, unclaimed.count == 1 { backend.interface = unclaimed.first }
            return backend
        }
    }
}

extension Substring {
    var trimmedSpace: String {
        String(drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
    }
}
