import Foundation
import Glibc
import GuestMemory
import UnderstudyCore

/// A stock QEMU with firmware only, and just enough QMP to ask how it is.
final class Machine {
    static let path = "/usr/bin/qemu-system-x86_64"
    static let exists = access(path, X_OK) == 0
    static let hasKVM = access("/dev/kvm", R_OK | W_OK) == 0

    let child: Child
    var pid: Int32 { child.pid }

    /// `launcher`: the words of a command that becomes QEMU, as `setpriv` does.
    init(_ arguments: [String], launcher: [String] = []) throws {
        let words = launcher + [Machine.path]
        child = try Child(words[0], words.dropFirst() + ["-nodefaults", "-display", "none", "-qmp", "stdio"] + arguments)
        _ = try child.line()
        _ = try ask("qmp_capabilities")
    }

    /// The answer to a command; events are passed over.
    func ask(_ command: String, _ arguments: [String: String] = [:]) throws -> [String: Any] {
        let request: [String: Any] = ["execute": command, "arguments": arguments]
        try child.send(String(decoding: JSONSerialization.data(withJSONObject: request), as: UTF8.self))
        while true {
            guard let message = try JSONSerialization.jsonObject(with: Data(child.line().utf8)) as? [String: Any] else { continue }
            if message["event"] != nil { continue }
            return message
        }
    }

    func status() throws -> String? { (try ask("query-status")["return"] as? [String: Any])?["status"] as? String }

    /// The main RAM block, by the one mapping of exactly this length.
    func memory(mebibytes: UInt64) throws -> [RAMBlock] {
        let text = try String(contentsOfFile: "/proc/\(pid)/maps", encoding: .utf8)
        for line in text.split(separator: "\n") {
            let ends = line.prefix { $0 != " " }.split(separator: "-").compactMap { UInt64($0, radix: 16) }
            guard ends.count == 2, line.contains(" rw-"), ends[1] - ends[0] == mebibytes << 20 else { continue }
            return [RAMBlock(name: "pc.ram", usedLength: mebibytes << 20, totalLength: mebibytes << 20, hostAddress: ends[0])]
        }
        throw Failure("no mapping of \(mebibytes) MiB in \(text)")
    }
}
