import Foundation
import Glibc

/// What a process holds.
struct ProcessSize: CustomStringConvertible {
    /// Resident memory in MiB.
    var memory: Int
    var descriptors: Int
    var threads: Int

    init(of pid: pid_t) throws {
        let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        func number(_ key: String) -> Int {
            let line = status.split(separator: "\n").first { $0.hasPrefix("\(key):") } ?? ""
            return Int(line.split(whereSeparator: \.isWhitespace).dropFirst().first ?? "") ?? 0
        }
        memory = number("VmRSS") / 1024
        threads = number("Threads")
        descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count
    }

    var description: String { "\(memory) MiB, \(descriptors) descriptors, \(threads) threads" }
}
