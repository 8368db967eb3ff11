import Demonstration
import Foundation
import Glibc
import OutputRelay

/// Everything that Understudy could leave on a host: interfaces, classifiers, files, processes, descriptors inside QEMU.
struct RecoveryFootprint {
    var interfaces: [String]
    var classifiers: [String]
    var gate: Bool
    var files: [String]
    var qemus: Int
    var userfaultfds: Int

    /// - Parameter qemu: the machine's process, whose descriptors are looked at.
    init(of host: LabHost, qemu: pid_t?) throws {
        interfaces = try host.tool("ip", "-d", "-o", "link").split(separator: "\n").map { Self.withoutTimers(String($0)) }
        classifiers = try host.tool("bpftool", "net", "show").split(separator: "\n").map(String.init).filter { !$0.isEmpty }
        classifiers += try host.tool("tc", "qdisc", "show").split(separator: "\n").map(String.init)
        gate = try host.run { () throws(DemonstrationError) in
            do throws(OutputRelayError) { return try !LeftoverRelay.findAll().isEmpty } catch {
                throw DemonstrationError(.network, "\(error)")
            }
        }
        let runtime = "\(host.folder)/run"
        files = try FileManager.default.fileExists(atPath: runtime) ? FileManager.default.subpathsOfDirectory(atPath: runtime).sorted() : []
        qemus = host.processes(of: "qemu-system").count
        userfaultfds = try qemu.map { try Self.userfaultfds(in: $0) } ?? 0
    }

    /// A bridge's and its ports' running timers and what follows from a carrier that comes and goes with QEMU tell nothing.
    private static func withoutTimers(_ line: String) -> String {
        var words = line.split(separator: " ").map(String.init).filter { !$0.hasPrefix("<") }
        var index = 0
        while index + 1 < words.count {
            if words[index].hasSuffix("_timer") || words[index] == "state" { words[index + 1] = "" }
            index += 1
        }
        return words.joined(separator: " ")
    }

    private static func userfaultfds(in pid: pid_t) throws -> Int {
        let folder = "/proc/\(pid)/fd"
        return try FileManager.default.contentsOfDirectory(atPath: folder).filter { name in
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\(name)"))?.contains("userfaultfd") == true
        }.count
    }

    /// One line per difference to an earlier look.
    func differences(from before: RecoveryFootprint) -> [String] {
        let lines = { (footprint: RecoveryFootprint) in
            footprint.interfaces + footprint.classifiers + footprint.files
                + ["gate \(footprint.gate), \(footprint.qemus) QEMU, \(footprint.userfaultfds) userfaultfd"]
        }
        return lines(self).difference(from: lines(before)).map { change in
            switch change {
            case .insert(_, let line, _): "+ \(line)"
            case .remove(_, let line, _): "- \(line)"
            }
        }
    }
}
