import Glibc
import LinuxShim

extension HostFacts {
    /// Reads the facts of this host for the protection of `machine`, in the calling thread's network namespace.
    public static func gather(for machine: MachineDescription) throws(HypervisorError) -> HostFacts {
        let tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC)
        if tun >= 0 { close(tun) }
        let status = try ProcessStatus(parsing: try ProcessFile.text("/proc/thread-self/status"))
        let own = try ProcessFile.link("/proc/thread-self/ns/net")
        let theirs = try ProcessFile.link("/proc/\(machine.process.id)/ns/net")
        return HostFacts(
            kernel: try KernelVersion(release: try ProcessFile.text("/proc/sys/kernel/osrelease")),
            canTrace: status.has(capability: 19) && !tracingIsForbidden(), canAdministerNetwork: status.has(capability: 12),
            hasTunDevice: tun >= 0, interfaces: try interfaces(), sharesNetworkNamespace: own == theirs)
    }

    /// Yama's mode 3 forbids tracing even to root. A kernel without Yama has no such file.
    private static func tracingIsForbidden() -> Bool {
        let path = "/proc/sys/kernel/yama/ptrace_scope"
        guard access(path, R_OK) == 0, let mode = try? ProcessFile.text(path) else { return false }
        return mode.hasPrefix("3")
    }

    private static func interfaces() throws(HypervisorError) -> [HostInterface] {
        final class Links { var found: [(index: Int, name: String, kind: String, master: Int)] = [] }
        let links = Links()
        // SAFETY: the shim calls back during the call only, while `links` is alive.
        let result = understudy_list_interfaces(Unmanaged.passUnretained(links).toOpaque()) { context, index, name, kind, master in
            guard let context, let name, let kind else { return }
            let links = Unmanaged<Links>.fromOpaque(context).takeUnretainedValue()
            links.found.append((Int(index), String(cString: name), String(cString: kind), Int(master)))
        }
        guard result == 0 else {
            throw HypervisorError(.systemCall, "listing the network interfaces failed: \(String(cString: strerror(-result)))")
        }
        return links.found.map { link in
            let master = links.found.first { link.master != 0 && $0.index == link.master }
            return HostInterface(name: link.name, index: link.index, kind: link.kind, master: master?.name, masterKind: master?.kind)
        }
    }
}

extension KernelVersion {
    /// Reads `6.18.44-generic`.
    init(release: String) throws(HypervisorError) {
        let numbers = release.split(separator: ".").prefix(2).map { $0.prefix(while: \.isNumber) }
        guard numbers.count == 2, let major = Int(numbers[0]), let minor = Int(numbers[1]) else {
            throw HypervisorError(.unknownAnswer, "the kernel's release \(release) has an unknown form")
        }
        self.init(major: major, minor: minor)
    }
}

extension ProcessStatus {
    func has(capability bit: Int) -> Bool { effectiveCapabilities & (1 << UInt64(bit)) != 0 }
}
