internal import Foundation
internal import Glibc

/// What a process has used so far.
public struct ProcessUse: Sendable {
    private var threads: [String: (name: String, nanoseconds: UInt64)] = [:]

    /// Processor time of all threads, those that have ended included, seconds (proc(5), `stat`).
    public let seconds: Double
    /// Resident memory now and at its largest, bytes.
    public let memory: Int
    public let peakMemory: Int

    /// - Throws: `BenchmarkError` when the process is gone.
    public init(of pid: Int32) throws(BenchmarkError) {
        let folder = "/proc/\(pid)"
        do {
            for thread in try FileManager.default.contentsOfDirectory(atPath: "\(folder)/task") {
                // A thread that ends meanwhile is in the total only.
                guard let name = try? String(contentsOfFile: "\(folder)/task/\(thread)/comm", encoding: .utf8),
                    let times = try? String(contentsOfFile: "\(folder)/task/\(thread)/schedstat", encoding: .utf8)
                else { continue }
                threads[thread] = (
                    name.trimmingCharacters(in: .newlines), UInt64(times.split(separator: " ").first ?? "0") ?? 0
                )
            }
            let stat = try String(contentsOfFile: "\(folder)/stat", encoding: .utf8)
            let fields = stat[(stat.lastIndex(of: ")") ?? stat.startIndex)...].split(separator: " ")
            let ticks = fields.count > 13 ? (Double(fields[12]) ?? 0) + (Double(fields[13]) ?? 0) : 0
            seconds = ticks / Double(sysconf(CInt(_SC_CLK_TCK)))
            let status = try String(contentsOfFile: "\(folder)/status", encoding: .utf8)
            memory = Self.kilobytes("VmRSS", in: status) << 10
            peakMemory = Self.kilobytes("VmHWM", in: status) << 10
        } catch {
            throw BenchmarkError("process \(pid) cannot be looked at: \(error.localizedDescription)")
        }
    }

    private static func kilobytes(_ key: String, in status: String) -> Int {
        let line = status.split(separator: "\n").first { $0.hasPrefix("\(key):") } ?? ""
        return Int(line.split(whereSeparator: \.isWhitespace).dropFirst().first ?? "") ?? 0
    }

    /// Per cent of one core, by thread name, of those that used at least a twentieth of one per cent since `earlier`.
    public func shares(since earlier: ProcessUse, seconds: Double) -> [(name: String, percent: Double)] {
        var shares: [String: Double] = [:]
        for (thread, (name, nanoseconds)) in threads {
            let before = earlier.threads[thread]?.nanoseconds ?? 0
            shares[name, default: 0] += Double(nanoseconds - min(before, nanoseconds)) / 1e7 / seconds
        }
        return shares.filter { $0.value >= 0.05 }.sorted { $0.value > $1.value }.map { ($0.key, $0.value) }
    }
}
