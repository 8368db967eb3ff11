public import Glibc

/// Two hosts, a client and an arbiter on one machine: four network namespaces and the processes in them.
///
/// ```
///   host1: guest0 (tap) - br0 - cli0 ---- port1 \
///          repl0 ------.                         sw0 (10.77.0.1) :client
///   host2: guest0 (tap) - br0 - cli0 ---- port2 /
///          repl0 ------'      arb0 of both ------ bridge (10.78.2.3, etcd) :arbiter
/// ```
///
/// Everything is removed by `destroy()`; when this process dies or is killed instead, a guard process that waits for its end removes
/// it; when the guard is dead too, the next `create` in the same folder removes it.
public final class Lab: Sendable {
    /// Unique among all labs of this machine; part of the namespaces' names.
    public let identifier: String
    /// Folder of this run: logs, sockets, etcd's data. Removed by `destroy()`.
    public let folder: String
    public let host1: LabHost
    public let host2: LabHost
    public let client: LabHost
    public let arbiter: LabHost

    let guardian: LabGuard
    let cutters: [LinkCutter]

    init(identifier: String, folder: String, hosts: [LabHost], guardian: LabGuard, cutters: [LinkCutter]) {
        self.identifier = identifier
        self.folder = folder
        (host1, host2, client, arbiter) = (hosts[0], hosts[1], hosts[2], hosts[3])
        self.guardian = guardian
        self.cutters = cutters
    }

    var hosts: [LabHost] { [host1, host2, client, arbiter] }

    /// Makes the namespaces, links, bridges, taps and folders, after it has removed what dead runs left in `stateFolder`.
    ///
    /// On both hosts the guest's tap `LabAddresses.tap` exists, is up and a port of `LabAddresses.bridge`. Needs root and iproute2.
    /// - Parameters:
    ///   - stateFolder: holds the lock and one folder per run. Labs in different state folders run side by side.
    ///   - prefix: begins the namespaces' names.
    /// - Throws: `.alreadyRunning` when another lab of `stateFolder` is in use, `.prerequisiteMissing`, `.network`, `.file`.
    public static func create(
        stateFolder: String = "/run/understudy-demo", prefix: String = "understudy"
    ) throws(DemonstrationError) -> Lab {
        try LabBuilder(stateFolder: stateFolder, prefix: prefix).build()
    }

    /// Ends every process in the four namespaces and removes namespaces, links and the folder. May be called twice.
    public func destroy() throws(DemonstrationError) {
        try guardian.cleanUp()
    }

    /// Gives up the duty to clean up: the lab stays when this process ends, until the next `create` in the same state folder.
    public func leaveRunning() throws(DemonstrationError) {
        try guardian.disarm()
    }

    /// From now on SIGINT and SIGTERM destroy the lab and end this process with exit code 130 or 143.
    ///
    /// - Parameter notice: called before the clean-up starts, on a queue of its own.
    public func destroyOnInterrupt(notice: @escaping @Sendable () -> Void = {}) {
        guardian.cleanUpOnInterrupt(notice: notice)
    }

    /// Starts etcd (one member) in the arbiter's namespace and waits until it answers at `LabAddresses.arbiterEndpoint`.
    ///
    /// - Throws: `.prerequisiteMissing` without etcd, `.process` or `.timeout` (30 s) when it does not come up.
    @discardableResult
    public func startArbiter() throws(DemonstrationError) -> LabProcess {
        try ArbiterProcess.start(in: arbiter)
    }

    /// Starts the guest's QEMU on the first host with ordinary arguments and returns at once; see `LabGuest.waitUntilReady`.
    public func startGuest(_ launch: GuestLaunch) throws(DemonstrationError) -> LabGuest {
        try LabGuest.start(launch, on: host1)
    }

    /// The first host dies: all its links go down and then, with nothing in between, the processes get SIGKILL.
    ///
    /// Everything is prepared beforehand (a netlink socket in the namespace, one message for all links), so that no FIN or RST of the
    /// dying sockets finds a way out. Nothing is told to any other process.
    /// - Parameter pids: QEMU, daemon and helpers of the first host.
    /// - Throws: `.network` when the links could not be set down; nobody has been killed then.
    public func killHost1(pids: [pid_t]) throws(DemonstrationError) -> HostDeath { try kill(host1, pids: pids) }

    /// The same for either host.
    public func kill(_ host: LabHost, pids: [pid_t]) throws(DemonstrationError) -> HostDeath { try cutter(of: host).kill(pids: pids) }

    /// Sets the links of a dead host up again, as its reboot would. Nothing is started.
    public func revive(_ host: LabHost) throws(DemonstrationError) { try cutter(of: host).revive() }

    /// Limits what leaves the first host towards the second (`tc` with a token bucket); nil takes the limit away.
    public func limitReplication(megabitsPerSecond: Int?) throws(DemonstrationError) {
        let place = ["dev", LabAddresses.hostReplicationLink, "root"]
        let command =
            megabitsPerSecond.map {
                ["tc", "qdisc", "replace"] + place + ["tbf", "rate", "\($0)mbit", "burst", "32kb", "latency", "100ms"]
            }
            ?? ["tc", "qdisc", "del"] + place
        let process = try host1.spawn(command, log: "tc.log")
        guard process.wait(milliseconds: 10_000) == 0 else {
            throw DemonstrationError(.network, "tc cannot limit the link of \(host1.name): see tc.log in \(host1.folder)")
        }
    }

    private func cutter(of host: LabHost) -> LinkCutter { cutters[host.name == host2.name ? 1 : 0] }

    /// Starts the two TCP and two UDP clients in the client's namespace against the guest; returns when both TCP connections stand.
    ///
    /// - Parameter guest: the address of the guest's card at which they talk to it.
    /// - Throws: `.timeout` when the guest does not accept within 10 s, `.network` when a socket cannot be made.
    public func startClients(guest: String = LabAddresses.guest) throws(DemonstrationError) -> Clients {
        try Clients.start(in: client, guest: guest)
    }

    /// Fetches the whole chain of the guest that answers now at `LabAddresses.guest`. Stop the clients before.
    ///
    /// - Throws: `.guestProtocol`, `.network` or `.timeout` (10 s without an answer).
    public func fetchChain() throws(DemonstrationError) -> SurvivorChain {
        try ChainReader.fetch(in: client)
    }

    /// Has the guest end its journal and unmount the file system. Stop the clients before: it serves no request any more.
    ///
    /// Then end its QEMU, and `DiskRecord.read(from:ending:)` reads the image.
    /// - Returns: records in the journal.
    /// - Throws: `.guestProtocol`, `.network` or `.timeout`.
    @discardableResult
    public func endJournal() throws(DemonstrationError) -> Int {
        try DiskService.endJournal(in: client, guest: LabAddresses.guest)
    }

    /// Asks the guest's block writers.
    ///
    /// - Parameter checking: they first compare their whole disk with what the guest remembers.
    /// - Throws: `.network` or `.timeout`.
    public func blockState(checking: Bool) throws(DemonstrationError) -> BlockState {
        try DiskService.blocks(in: client, guest: LabAddresses.guest, checking: checking)
    }

    /// Has the guest write its disk of use `.load` as fast as it goes.
    ///
    /// - Returns: writes per second, as the guest counts and times them.
    /// - Throws: `.guestProtocol`, `.network` or `.timeout`.
    public func load(_ load: DiskLoad, milliseconds: UInt64) throws(DemonstrationError) -> Double {
        try DiskService.load(in: client, guest: LabAddresses.guest, load, milliseconds: milliseconds)
    }

    /// Round trips of single requests to the guest, in milliseconds, in their order.
    ///
    /// - Parameter spacing: milliseconds from a reply to the next request, on average.
    public func roundTrips(_ count: Int, spacing: UInt64) throws(DemonstrationError) -> [Double] {
        try RoundTrips.measure(in: client, guest: LabAddresses.guest, count: count, spacing: spacing)
    }

    /// Starts to record the guest's frames that come out of both hosts, at the client network's switch ports.
    ///
    /// - Parameter bytes: which bytes of each frame are kept, see `FrameSniffer.Sighting.kept`.
    /// - Throws: `.network` when the sockets cannot be made.
    public func startSniffer(keeping bytes: Range<Int> = 0..<0) throws(DemonstrationError) -> FrameSniffer {
        try FrameSniffer.start(
            in: client, interfaces: [LabAddresses.switchPortOfHost1, LabAddresses.switchPortOfHost2], mac: LabAddresses.guestMAC,
            keeping: bytes)
    }
}
