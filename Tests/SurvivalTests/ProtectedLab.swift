import Demonstration
import Foundation
import Glibc
import HostAPI

/// A laboratory with daemons and a booted guest, for one test. Everything goes with it, whatever the test does.
final class ProtectedLab {
    static let machine = "guest"

    /// The two hosts by their place in the lab; the guest is started on the first.
    enum Side {
        case first, second

        var other: Side { self == .first ? .second : .first }
    }

    let lab: Lab
    private(set) var guest: LabGuest
    private(set) var daemons: LabDaemons
    private(set) var clients: Clients?
    /// Clients at the guest's second network card, where there is one.
    private(set) var furtherClients: Clients?
    private let hasSecondNetwork: Bool
    /// What the guest's second card is connected to, when it is on no tap.
    let streamSwitch: StreamSwitch?
    /// The host that runs the guest, as far as the test has brought it there.
    private(set) var active = Side.first
    /// The guest's QEMU on the active host.
    private(set) var activePID: pid_t
    /// Between the hosts' checkpoint ports, when asked for.
    let proxies: [StreamProxy]
    /// The guest's disks are protected as images that both hosts see, which in this laboratory they do.
    var sharedDisks = false
    private let launch: GuestLaunch
    private var sniffer: FrameSniffer?
    private var times = RunTimes()
    /// Last status of the active host before it died, for the figures of the verdict.
    private var before: MachineStatus?

    /// - Parameters:
    ///   - faults: `UNDERSTUDY_FAULT` by host name: `NAME:COUNT`; the daemon stops there, see `awaitFault`.
    ///   - settings: further TOML for both daemons; by default a detection time that a loaded test machine keeps.
    ///   - proxied: the checkpoint streams go through `proxies`, one per side.
    ///   - extraMonitor: QEMU gets a second QMP socket, `secondMonitor`.
    ///   - folderArbiter: a folder that both hosts see decides instead of etcd.
    ///   - lifeSeconds: after so long the guest powers itself off.
    ///   - environment: added to both daemons' environment.
    ///   - secondNetwork: both hosts get a second bridge and tap, and the guest's second card is there.
    ///   - disks: makes the guest's disks.
    ///   - booting: the guest is booted for this test, and not loaded as it was when another one of its kind had booted.
    ///   - change: changes how the guest is started.
    init(
        faults: [String: String] = [:], settings: String = patient, memory: GuestLaunch.MemoryBackend = .anonymous, dirtyPages: Int = 200,
        qemu: String = "qemu-system-x86_64", proxied: Bool = false, extraMonitor: Bool = false, folderArbiter: Bool = false,
        lifeSeconds: Int? = nil, environment common: [String: String] = [:], secondNetwork: SecondNetwork? = nil, booting: Bool = false,
        disks: (Lab) throws -> [GuestDisk] = { _ in [] }, change: (inout GuestLaunch) -> Void = { _ in }
    ) throws {
        hasSecondNetwork = secondNetwork != nil
        lab = try LaboratoryFailure.settingUp { try Lab.create(stateFolder: Requirements.stateFolder, prefix: "ustest") }
        do {
            streamSwitch = try secondNetwork?.build(in: lab)
            try lab.startArbiter()
            var environment = [lab.host1.name: common, lab.host2.name: common]
            for (host, fault) in faults { environment[host]?["UNDERSTUDY_FAULT"] = "\(fault):\(Self.marker(lab, host))" }
            proxies = proxied ? try StreamProxy.pair(in: lab) : []
            daemons = try LabDaemons.start(
                in: lab, program: Requirements.daemon, settings: settings,
                arbiter: folderArbiter ? try Self.sharedFolder(lab) : LabDaemons.etcd, environment: environment,
                standby: secondNetwork?.standby(in: lab) ?? [:],
                checkpointRoutes: Dictionary(uniqueKeysWithValues: proxies.map { ($0.host.name, $0.route) }))
            var launch = GuestLaunch(image: try GuestImage.cached(), qemu: qemu, dirtyPages: dirtyPages, memoryBackend: memory)
            if extraMonitor { launch.furtherArguments = ["-qmp", "unix:\(Self.secondMonitor(lab)),server=on,wait=off"] }
            launch.lifeSeconds = lifeSeconds
            secondNetwork?.addCard(to: &launch, in: lab)
            launch.disks = try disks(lab)
            change(&launch)
            self.launch = launch
            guest = try BootedGuests.start(launch, in: lab, booting: booting)
            activePID = guest.process.pid
        } catch {
            try? lab.destroy()
            throw LaboratoryFailure(cause: error)
        }
    }

    private static func sharedFolder(_ lab: Lab) throws -> String {
        let folder = "\(lab.folder)/shared"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        return "folder = \"\(folder)\""
    }

    deinit {
        // Clients that outlive their laboratory would disturb every later test: they ask and allocate for ever.
        furtherClients.map { _ = $0.stop(drainSeconds: 0) }
        _ = stopClients()
        for proxy in proxies { proxy.stop() }
        streamSwitch?.stop()
        try? lab.destroy()
    }

    private static func marker(_ lab: Lab, _ host: String) -> String { "\(lab.folder)/\(host).fault" }
    private static func secondMonitor(_ lab: Lab) -> String { "\(lab.host1.folder)/second.qmp" }

    var secondMonitor: String { Self.secondMonitor(lab) }

    func host(_ side: Side) -> LabHost { side == .first ? lab.host1 : lab.host2 }
    func daemon(_ side: Side) -> LabDaemons.Daemon { side == .first ? daemons.first : daemons.second }
    func status(_ side: Side) -> MachineStatus? { status(daemon(side)) }

    func startClients() throws {
        sniffer = try lab.startSniffer()
        clients = try lab.startClients()
        if hasSecondNetwork { furtherClients = try lab.startClients(guest: SecondNetwork.guest) }
    }

    /// Protects the guest where it runs; returns when it is protected. A guest that Understudy knows already needs no QMP socket.
    ///
    /// - Parameter copies: where the backup shall keep the disks, whatever is there already.
    func protect(intervalMilliseconds: Double = 25, unsafeNoOutputCommit: Bool = false, copies: [String: String]? = nil) throws {
        times.protectRequestedAt = MonotonicTime.now()
        var attempts = 3
        while true {
            attempts -= 1
            do {
                var request = request(intervalMilliseconds, unsafeNoOutputCommit)
                request.diskPaths = copies
                request.overwriteDisks = copies != nil
                _ = try daemon(active).perform(.protect(request))
                break
            } catch {
                // On a loaded machine QEMU may not stop within the detection time: the product then says so, and the guest runs on.
                guard attempts > 0, [.unprotected, .failed].contains(status(active)?.state) else {
                    throw SurvivalFailure("protect: \(error)\n\(logs)")
                }
            }
        }
        times.protectedAt = MonotonicTime.now()
    }

    /// Asks for protection without waiting for its end, for tests that stop a daemon in the middle.
    func beginProtecting(intervalMilliseconds: Double = 25) {
        let request = request(intervalMilliseconds, false)
        let daemon = daemon(active)
        times.protectRequestedAt = MonotonicTime.now()
        Thread.detachNewThread { _ = try? daemon.perform(.protect(request)) }
    }

    private func request(_ interval: Double, _ unsafe: Bool) -> ProtectRequest {
        var request = ProtectRequest(
            name: Self.machine, qmp: status(active) == nil ? guest.qmp : nil, backup: host(active.other).name,
            intervalMilliseconds: interval, unsafeNoOutputCommit: unsafe)
        if sharedDisks { request.sharedDisks = true }
        return request
    }

    /// Moves the guest to the other host on purpose.
    ///
    /// - Parameter back: it is protected first, if it is not.
    func switchOver(back: Bool = false, protectBack: Bool = false) throws -> SwitchoverReport {
        before = status(active)
        if !back { times.diedAt = MonotonicTime.now() }
        let request = SwitchoverRequest(name: Self.machine, timeoutSeconds: 60, back: back, protectBack: protectBack)
        let result: HostResult
        do { result = try daemon(active).perform(.switchover(request)) } catch {
            throw SurvivalFailure("switchover: \(error)\n\(logs)")
        }
        guard case .switchover(let report) = result else { throw SurvivalFailure("switchover: \(result)") }
        settle(on: active.other)
        return report
    }

    func status(_ daemon: LabDaemons.Daemon) -> MachineStatus? { try? daemon.machine(Self.machine) }

    /// Waits until the daemon of a host stands still at its fault point.
    func awaitFault(on host: LabHost, seconds: Double = 60) throws {
        try wait(seconds: seconds, for: "the fault point on \(host.name)") {
            FileManager.default.fileExists(atPath: Self.marker(lab, host.name))
        }
        // The mark comes before the stop: a SIGCONT in between would let nothing go on.
        let daemon = host.name == lab.host1.name ? daemons.first : daemons.second
        try wait(seconds: seconds, for: "the daemon of \(host.name) to stand still") {
            let stat = (try? String(contentsOfFile: "/proc/\(daemon.process.pid)/stat", encoding: .utf8)) ?? ""
            return stat.isEmpty || stat[(stat.lastIndex(of: ")") ?? stat.startIndex)...].hasPrefix(") T")
        }
    }

    /// The first host's links go down and its processes die in the same instant.
    func killFirstHost() throws { try kill(.first) }

    /// A host's links go down and everything that runs there dies in the same instant.
    func kill(_ side: Side) throws {
        let host = host(side)
        // A daemon that stands still at a fault point does not answer; its figures are missing then.
        if side == active, !FileManager.default.fileExists(atPath: Self.marker(lab, host.name)) { before = status(side) }
        times.diedAt = try lab.kill(host, pids: host.processes).linksDownAt
        _ = daemon(side).process.wait(milliseconds: 60_000)
        if side == .first { _ = guest.process.wait(milliseconds: 60_000) }
    }

    /// A dead host comes back: links up, daemon started. Nothing tells it about the guest but its own files and the arbiter.
    ///
    /// - Parameter fault: `NAME:COUNT` for `UNDERSTUDY_FAULT`.
    func revive(_ side: Side, fault: String? = nil) throws {
        try lab.revive(host(side))
        try restart(side, fault: fault)
    }

    /// A dead host was rebooted: nothing of its memory is left, so neither runtime files nor interfaces of the daemon, and no guest.
    func reboot(_ side: Side, fault: String? = nil) throws {
        let host = host(side)
        try lab.revive(host)
        try? FileManager.default.removeItem(atPath: "\(host.folder)/run")
        for name in leftInterfaces(on: side) + [LabAddresses.tap] { try ip("link", "del", name, on: side) }
        try ip("tuntap", "add", "dev", LabAddresses.tap, "mode", "tap", "vnet_hdr", on: side)
        try ip("link", "set", LabAddresses.tap, "master", LabAddresses.bridge, "up", on: side)
        try restart(side, fault: fault)
    }

    private func ip(_ arguments: String..., on side: Side) throws {
        let process = try host(side).spawn(["ip"] + arguments, log: "ip.log")
        // An interface may have gone with its last user meanwhile.
        guard let status = process.wait(milliseconds: 60_000), status == 0 || arguments.contains("del") else {
            throw SurvivalFailure("ip \(arguments.joined(separator: " ")) failed on \(host(side).name)")
        }
    }

    /// Starts a new guest on the first host, where none runs any more.
    func startGuestAnew() throws {
        unlink(guest.serial)
        unlink(guest.qmp)
        guest = try LaboratoryFailure.settingUp {
            try BootedGuests.start(launch, in: lab, booting: false)
        }
        active = .first
        activePID = guest.process.pid
    }

    func restart(_ side: Side, fault: String? = nil) throws {
        let marker = Self.marker(lab, host(side).name)
        unlink(marker)
        let environment = fault.map { ["UNDERSTUDY_FAULT": "\($0):\(marker)"] } ?? [:]
        let restarted = try LabDaemons.restart(daemon(side), on: host(side), program: Requirements.daemon, environment: environment)
        daemons =
            side == .first
            ? LabDaemons(first: restarted, second: daemons.second) : LabDaemons(first: daemons.first, second: restarted)
    }

    func restartFirstDaemon() throws { try restart(.first) }

    func awaitState(_ state: MachineStatus.State, on daemon: LabDaemons.Daemon, seconds: Double = 60) throws {
        try wait(seconds: seconds, for: "\(state) on \(daemon.name), which is \(String(describing: status(daemon)))") {
            status(daemon)?.state == state
        }
    }

    /// Waits until so many epochs of this session are committed.
    func awaitEpochs(_ count: UInt64, seconds: Double = 60) throws {
        try wait(seconds: seconds, for: "\(count) committed epochs") { (status(active)?.epoch ?? 0) >= count }
    }

    /// The test has seen which host runs the guest.
    func settle(on side: Side) {
        active = side
        activePID = status(side)?.qemu?.pid ?? 0
    }

    /// Waits for the other host to run the guest, which is then the active one.
    func awaitTakeover(seconds: Double = 60) throws {
        let daemon = daemon(active.other)
        try wait(seconds: seconds, for: "the takeover; \(daemon.name) is \(String(describing: status(daemon)))") {
            guard let status = status(daemon) else { return false }
            return status.takeover != nil && status.state == .unprotected
        }
        active = active.other
        activePID = status(daemon)?.qemu?.pid ?? 0
    }

    /// Waits until every TCP client has had a reply after `instant` (the guest is heard again).
    func awaitReplies(after instant: UInt64, seconds: Double = 60) throws {
        for clients in [clients, furtherClients] { try awaitReplies(after: instant, of: clients, seconds: seconds) }
    }

    /// The same for the clients of one card.
    func awaitReplies(after instant: UInt64, of clients: Clients?, seconds: Double = 60) throws {
        guard let clients else { return }
        try wait(seconds: seconds, for: "replies from the survivor; the clients: \(clients.progress)") {
            clients.progress.filter { $0.kind.isStream }.allSatisfy { $0.lastReplyAt > instant || $0.connectionError != nil }
        }
    }

    /// Stops the clients, fetches the survivor's chain and judges what was seen.
    ///
    /// - Parameter drainSeconds: how long outstanding TCP requests may still be answered.
    ///   - disk: reads the survivor's journal, once its chain is known.
    func verdict(drainSeconds: Int = 5, disk: (Lab, SurvivorChain) throws -> DiskRecord? = { _, _ in nil }) throws -> Verdict {
        try verdicts(drainSeconds: drainSeconds, disk: disk)[0]
    }

    /// As `verdict`, one per network card of the guest: each card's clients against the one chain.
    func verdicts(drainSeconds: Int = 5, disk: (Lab, SurvivorChain) throws -> DiskRecord? = { _, _ in nil }) throws -> [Verdict] {
        guard let clients, let sniffer else { preconditionFailure("start the clients before") }
        let records = [clients, furtherClients].compactMap { $0?.stop(drainSeconds: drainSeconds) }
        self.clients = nil
        self.sniffer = nil
        furtherClients = nil
        let sightings = sniffer.stop()
        let ports = [LabAddresses.switchPortOfHost1, LabAddresses.switchPortOfHost2]
        let (old, new) = active == .second ? (ports[0], ports[1]) : (ports[1], ports[0])
        times.lastFrameOfOldHostAt = sightings[old]?.last
        if let died = times.diedAt { times.firstFrameOfNewHostAt = sightings[new]?.first(after: died) }
        let figures = DaemonFigures(
            detectionMilliseconds: nil, takeoverMilliseconds: nil, checkpoints: Int(before?.checkpoints?.count ?? 0),
            pauseMilliseconds: nil,
            epochMilliseconds: nil, dirtyPages: nil)
        defer { times = RunTimes() }
        let chain = try lab.fetchChain()
        let disk = try disk(lab, chain)
        return records.map { records in
            Verdict.judge(
                RunRecord(
                    clients: records, chain: chain, times: times, daemons: figures, qemu: before?.qemu?.version ?? "", seed: 0, disk: disk))
        }
    }

    /// Stops the clients of a guest that is lost; what came out of each host.
    @discardableResult
    func stopClients() -> (first: FrameSniffer.Sighting?, second: FrameSniffer.Sighting?) {
        _ = clients?.stop(drainSeconds: 0)
        let sightings = sniffer?.stop()
        clients = nil
        sniffer = nil
        return (sightings?[LabAddresses.switchPortOfHost1], sightings?[LabAddresses.switchPortOfHost2])
    }

    /// What has come out of a host so far.
    func frames(of side: Side) -> FrameSniffer.Sighting? {
        sniffer?.sighting(at: side == .first ? LabAddresses.switchPortOfHost1 : LabAddresses.switchPortOfHost2)
    }

    /// Everything that a daemon has said.
    func log(of side: Side) -> String {
        (try? String(contentsOfFile: "\(host(side).folder)/understudyd.log", encoding: .utf8)) ?? "no log"
    }

    /// Waits for a condition, never for time.
    func wait(seconds: Double, for what: @autoclosure () -> String, until condition: () -> Bool) throws {
        let end = MonotonicTime.now() + UInt64(seconds * 1e9)
        while !condition() {
            guard MonotonicTime.now() < end else { throw SurvivalFailure("waited \(seconds) s in vain for \(what())\n\(logs)") }
            usleep(2_000)
        }
    }

    /// The ends of both daemons' logs.
    var logs: String {
        [lab.host1, lab.host2].map { host in
            let text = (try? String(contentsOfFile: "\(host.folder)/understudyd.log", encoding: .utf8)) ?? "no log"
            return "--- \(host.name)\n" + text.split(separator: "\n").suffix(20).joined(separator: "\n")
        }.joined(separator: "\n")
    }
}

struct SurvivalFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}
