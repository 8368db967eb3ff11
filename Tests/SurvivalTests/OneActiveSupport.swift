import Arbiter
import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing
import UnderstudyCore

/// The host that runs the guest when everything has settled.
enum Survivor: Sendable {
    case first, second
}

extension LabHost {
    /// Runs a program in this machine's network namespace; returns its exit code and what it printed on both outputs.
    func attempt(_ arguments: [String]) throws -> (status: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["ip", "netns", "exec", namespace] + arguments
        let output = Pipe()
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text)
    }

    /// As `attempt`, for programs that must succeed; returns what it printed.
    @discardableResult
    func tool(_ arguments: String...) throws -> String {
        let (status, output) = try attempt(arguments)
        guard status == 0 else { throw SurvivalFailure("\(arguments.joined(separator: " ")) failed: \(output)") }
        return output
    }

    func setLink(_ device: String, up: Bool) throws { try tool("ip", "link", "set", device, up ? "up" : "down") }

    /// Loses everything that leaves through a device; the link stays up and the other direction works.
    func loseOutput(of device: String) throws {
        let program = "tc qdisc add dev \(device) clsact && tc filter add dev \(device) egress bpf direct-action bytecode '1,6 0 0 2'"
        try tool("sh", "-c", program)
    }

    func restoreOutput(of device: String) throws { try tool("tc", "qdisc", "del", "dev", device, "clsact") }

    /// Processes of a program in this machine.
    func processes(of program: String) -> [pid_t] {
        guard let listing = try? tool("ip", "netns", "pids", namespace) else { return [] }
        return listing.split(separator: "\n").compactMap { pid_t($0) }.filter { pid in
            let command = (try? String(contentsOfFile: "/proc/\(pid)/comm", encoding: .utf8)) ?? ""
            return command.hasPrefix(program) && !isDead(pid)
        }
    }

    private func isDead(_ pid: pid_t) -> Bool {
        guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8), let end = stat.lastIndex(of: ")") else {
            return true
        }
        let state = stat[stat.index(after: end)...].drop { $0 == " " }.first
        return state == "Z" || state == "X"
    }
}

/// Hears the guest at both switch ports. Everything that leaves a host passes there.
struct Listener {
    private let sniffer: FrameSniffer

    init(_ lab: Lab) throws { sniffer = try lab.startSniffer() }

    var first: FrameSniffer.Sighting { sniffer.sighting(at: LabAddresses.switchPortOfHost1) }
    var second: FrameSniffer.Sighting { sniffer.sighting(at: LabAddresses.switchPortOfHost2) }

    /// Ends the listening and says what contradicts "never two guests heard": frames of the first host after the instant of the takeover's
    /// decision, or frames of a second host that took nothing over.
    func violations(takenOverAt decided: UInt64?) -> [String] {
        let sightings = sniffer.stop()
        guard let first = sightings[LabAddresses.switchPortOfHost1], let second = sightings[LabAddresses.switchPortOfHost2] else {
            return ["the sniffer heard nothing at all"]
        }
        var found: [String] = []
        if first.dropped + second.dropped > 0 { found.append("the sniffer lost frames") }
        if let decided {
            let late = first.times.filter { $0 > decided }
            if let frame = late.first {
                found.append("\(late.count) frames left the first host, the first \((frame - decided) / 1000) us after the takeover")
            }
        } else if second.frames > 0 {
            found.append("\(second.frames) frames left the second host, which took nothing over")
        }
        return found
    }
}

extension ProtectedLab {
    /// A detection time that a loaded test machine keeps: these tests decide who falls silent, not the scheduler.
    static let patient = "detection-ms = 600"

    /// A pair that has committed a number of epochs under live connections.
    static func underTraffic(
        faults: [String: String] = [:], settings: String = patient, epochs: UInt64 = 10
    ) throws -> (pair: ProtectedLab, listener: Listener) {
        let pair = try ProtectedLab(faults: faults, settings: settings)
        let listener = try Listener(pair.lab)
        try pair.startClients()
        try pair.protect()
        // A daemon that is about to stand still at a fault point must not be asked: it would never answer.
        if faults.isEmpty { try pair.awaitMoreEpochs(epochs) }
        return (pair, listener)
    }

    /// Waits for further committed epochs.
    func awaitMoreEpochs(_ count: UInt64, seconds: Double = 20) throws {
        let start = status(daemons.first)?.epoch ?? 0
        try wait(seconds: seconds, for: "\(count) further epochs; the first host is \(String(describing: status(daemons.first)))") {
            (status(daemons.first)?.epoch ?? 0) >= start + count
        }
    }

    /// Waits until one QEMU is left of both hosts' and its daemon looks after it.
    func awaitSurvivor(seconds: Double = 20) throws -> Survivor {
        var survivor = Survivor.first
        try wait(
            seconds: seconds,
            for: "one survivor; first \(String(describing: status(daemons.first))), second \(String(describing: status(daemons.second)))"
        ) {
            let (here, there) = (lab.host1.processes(of: "qemu-system").count, lab.host2.processes(of: "qemu-system").count)
            guard here + there == 1 else { return false }
            survivor = here == 1 ? .first : .second
            return status(here == 1 ? daemons.first : daemons.second)?.state == .unprotected
        }
        return survivor
    }

    /// The guest answers, nobody heard two of it, and its clients saw one history.
    func expectOneHistory(_ survivor: Survivor, _ listener: Listener, comment: Comment? = nil) throws {
        try awaitReplies(after: MonotonicTime.now(), seconds: 60)
        let takeover = status(daemons.second)?.takeover
        #expect((takeover != nil) == (survivor == .second), comment)
        let verdict = try verdict()
        #expect(listener.violations(takenOverAt: takeover?.decidedAtNanoseconds) == [], comment)
        #expect(verdict.passed, "\(verdict.json)")
    }

    func hasEvent(_ kind: String, on daemon: LabDaemons.Daemon) -> Bool {
        var found = false
        _ = try? daemon.perform(.events(follow: false)) { reply in
            if case .event(let event) = reply, event.kind == kind { found = true }
        }
        return found
    }

    /// The arbiter dies.
    func killArbiter() throws {
        for pid in lab.arbiter.processes(of: "etcd") { Glibc.kill(pid, SIGKILL) }
        try wait(seconds: 60, for: "etcd's end") { lab.arbiter.processes(of: "etcd").isEmpty }
    }
}

extension Lab {
    /// The arbiter's record of a machine, read in the arbiter's own network namespace.
    func record(of machine: String) throws -> ArbiterRecord? {
        try arbiter.run { () throws(DemonstrationError) in
            do throws(ArbiterError) {
                return try EtcdArbiter(endpoints: [LabAddresses.arbiterEndpoint]).read(key: "understudy/machine/\(machine)")
            } catch {
                throw DemonstrationError(.network, "\(error)")
            }
        }
    }
}

/// How much processor time the guest's processor has had: it grows exactly while the guest runs.
struct GuestProcessor {
    private let path: String

    /// - Parameter pid: a QEMU with one virtual processor whose guest has booted: its busiest thread.
    init(pid: pid_t) throws {
        let threads = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task").map { "/proc/\(pid)/task/\($0)/schedstat" }
        guard let busiest = threads.max(by: { Self.nanoseconds($0) < Self.nanoseconds($1) }) else {
            throw SurvivalFailure("QEMU \(pid) has no threads")
        }
        path = busiest
    }

    /// Nanoseconds of processor time so far (proc(5), schedstat's first number); 0 when the process is gone.
    var time: UInt64 { Self.nanoseconds(path) }

    private static func nanoseconds(_ path: String) -> UInt64 {
        let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        return text.split(separator: " ").first.flatMap { UInt64($0) } ?? 0
    }
}
