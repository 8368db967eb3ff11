internal import Foundation
internal import Glibc
internal import GuestMemory
internal import HostAPI
internal import Hypervisor
internal import LinuxShim
internal import OutputRelay
internal import QMP

/// What one host must be able to do.
extension HostCheck {
    var kernel: CheckReport.Line {
        var name = utsname()
        uname(&name)
        let release = withUnsafeBytes(of: &name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        let numbers = release.split(separator: ".").prefix(2).compactMap { Int($0.prefix { $0.isNumber }) }
        let fit = numbers.count == 2 && (numbers[0], numbers[1]) >= (6, 7)
        return .init(
            "kernel 6.7 or later", fit ? .ok : .failed, release, remedy: "boot a newer kernel: Debian 13, Ubuntu 24.04 and RHEL 10 have one"
        )
    }

    var privilege: CheckReport.Line {
        .init(
            "privilege", geteuid() == 0 ? .ok : .failed, "running as \(geteuid() == 0 ? "root" : "uid \(geteuid())")",
            remedy: "run understudyd as root: it traces QEMU and sets up network interfaces")
    }

    var ownTracking: CheckReport.Line {
        trial(
            "page tracking", "PAGEMAP_SCAN and userfaultfd named the one page that was written",
            remedy: "boot a kernel of 6.7 or later with CONFIG_USERFAULTFD and CONFIG_PROC_PAGE_MONITOR",
            TrackingTrial.onOwnMemory)
    }

    var foreignTracking: CheckReport.Line {
        trial(
            "tracing", "a helper process was traced, tracked and copied from, as QEMU will be",
            remedy: "allow CAP_SYS_PTRACE to understudyd, set kernel.yama.ptrace_scope below 3, install understudy-inject of this version",
            { try TrackingTrial.onHelper(helperPath: context.injectorPath) })
    }

    var tun: CheckReport.Line {
        let fit = access("/dev/net/tun", R_OK | W_OK) == 0
        return .init("/dev/net/tun", fit ? .ok : .failed, fit ? "usable" : "missing or not usable", remedy: "modprobe tun")
    }

    var gate: CheckReport.Line {
        trial(
            "output gate", "a scratch tap's frame was held by the BPF classifier and let pass by the open one",
            remedy: "allow CAP_NET_ADMIN and CAP_BPF to understudyd; the kernel needs CONFIG_BPF_SYSCALL, CONFIG_NET_XGRESS and CONFIG_TUN",
            GateTrial.run)
    }

    var kvm: CheckReport.Line {
        let result = understudy_try_kvm()
        if result == 0 { return .init("/dev/kvm", .ok, "makes machines") }
        return .init(
            "/dev/kvm", .warning, "cannot be used: \(String(cString: strerror(-result)))",
            remedy: "needed for machines with -accel kvm only: modprobe kvm_intel or kvm_amd, and switch virtualisation on in the firmware")
    }

    /// - Parameter program: the path that a machine's QEMU has; nil for the usual one of `PATH`.
    func qemu(_ program: String?) -> CheckReport.Line {
        switch qemuVersion(program) {
        case .success(let version): .init("QEMU", .ok, "\(version)\(version.package.isEmpty ? "" : " (\(version.package))")")
        case .failure(let error):
            .init("QEMU", .failed, error.message, remedy: "install QEMU here under the same path as on the other host")
        }
    }

    func qemuVersion(_ program: String?) -> Result<QMPVersion, HypervisorError> {
        let name = program ?? QEMUProgram.usual
        guard let path = QEMUProgram.find(name) else { return .failure(HypervisorError(.launchFailed, "\(name) is not there")) }
        let log = "\(context.configuration.runtimeFolder)/qemu-version-\(UInt64.random(in: .min ... .max)).log"
        do throws(HypervisorError) { return .success(try QEMUProgram.version(of: path, log: log)) } catch { return .failure(error) }
    }

    var runtimeFolder: CheckReport.Line { writable("runtime folder", context.configuration.runtimeFolder) }
    var stateFolder: CheckReport.Line { writable("state folder", context.configuration.stateFolder) }

    private func writable(_ requirement: String, _ folder: String) -> CheckReport.Line {
        trial(
            requirement, "\(folder): a file was written and renamed", remedy: "let root write there, make room, or configure another folder"
        ) {
            let path = "\(folder)/.check-\(UInt64.random(in: .min ... .max))"
            defer { unlink(path) }
            try Data(count: 4096).write(to: URL(fileURLWithPath: path), options: .atomic)
        }
    }

    /// Memory that programs could get now, in bytes; nil when the kernel does not tell.
    static var availableMemory: UInt64? {
        guard let text = try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8) else { return nil }
        return availableMemory(in: text)
    }

    static func availableMemory(in text: String) -> UInt64? {
        let line = text.split(separator: "\n").first { $0.hasPrefix("MemAvailable:") }
        return line?.split(separator: " ").dropFirst().first.flatMap { UInt64($0) }.map { $0 * 1024 }
    }

    /// The processor's model and a digest of its features, by which two hosts can be compared.
    static var processor: String {
        guard let text = try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8) else { return "unknown" }
        return processor(in: text)
    }

    static func processor(in text: String) -> String {
        func value(_ key: String) -> Substring {
            let line = text.split(separator: "\n").first { $0.hasPrefix(key) }
            return line?.split(separator: ":", maxSplits: 1).last?.drop { $0 == " " } ?? "unknown"
        }
        // FNV-1a, the same in every process.
        let digest = value("flags").utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        return "\(value("model name")), features \(String(digest, radix: 16))"
    }
}
