import Demonstration
import Foundation

/// What the tests with real guests need, and where they find it.
enum Requirements {
    /// Where the laboratories of this run live; runs side by side need folders of their own.
    static let stateFolder = ProcessInfo.processInfo.environment["UNDERSTUDY_TEST_STATE"] ?? "/run/understudy-tests"

    static var areMet: Bool {
        guard getuid() == 0, FileManager.default.isExecutableFile(atPath: daemon) else { return false }
        return (try? GuestImage.cached()) != nil
    }

    /// The distribution's QEMU, and the newer one that `scripts/fetch-qemu10` fetches.
    static let qemu = "/usr/bin/qemu-system-x86_64"
    static let qemu10: String? = ProcessInfo.processInfo.environment["UNDERSTUDY_QEMU_10"].flatMap {
        FileManager.default.isExecutableFile(atPath: $0) ? $0 : nil
    }

    /// Whether tests that only measure, and prove nothing by themselves, shall run.
    static let isMeasuring = ProcessInfo.processInfo.environment["UNDERSTUDY_MEASURE"] == "1"

    /// `understudy-inject`, which lies beside the daemon.
    static var injector: String {
        URL(fileURLWithPath: daemon).deletingLastPathComponent().appendingPathComponent("understudy-inject").path
    }

    /// `understudyd`, which lies beside the test bundle.
    static let daemon: String = {
        let bundle = Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }?.bundlePath ?? CommandLine.arguments[0]
        let candidates = [bundle, "/proc/self/exe", CommandLine.arguments[0]].map {
            URL(fileURLWithPath: $0).resolvingSymlinksInPath().deletingLastPathComponent().appendingPathComponent("understudyd").path
        }
        return candidates.first { FileManager.default.isExecutableFile(atPath: $0) } ?? candidates[0]
    }()
}
