internal import Glibc
public import QMP

/// QEMU's mirror of one disk into an NBD server: the copy of its contents while the guest runs, and from then on every write, which the
/// guest's request waits for (`blockdev-mirror` with `copy-mode` `write-blocking`).
///
/// Source: QEMU `qapi/block-core.json`. When the server fails, the job stops with an event and the guest's request succeeds all the same.
public struct DiskMirror: Sendable {
    /// How far a mirror has come.
    public struct State: Sendable, Equatable {
        /// Bytes copied and bytes in all.
        public var done: UInt64
        public var total: UInt64
        /// Whether source and target are the same, and stay so.
        public var isReady: Bool
    }

    /// The name of QEMU's job.
    public let job: String
    let target: String
    private let filter: String
    private let disk: BlockDevice
    private let socketPath: String
    private let export: String
    private let blockBytes: UInt64
    private let copiesContents: Bool

    private static let prefix = "understudy-mirror-"
    private static let targetPrefix = "understudy-target-"
    private static let filterPrefix = "understudy-filter-"

    /// - Parameters:
    ///   - index: tells this machine's mirrors apart.
    ///   - socketPath: the NBD server's Unix socket, which QEMU must be able to reach.
    ///   - blockBytes: what is copied begins and ends at multiples of this, a power of two; 64 MiB at the most.
    ///   - copiesContents: false for a mirror of the coming writes alone, without what the disk holds already and without discards.
    public init(
        index: Int, disk: BlockDevice, socketPath: String, export: String, blockBytes: UInt64 = 64 << 10, copiesContents: Bool = true
    ) {
        job = "\(Self.prefix)\(index)"
        target = "\(Self.targetPrefix)\(index)"
        filter = "\(Self.filterPrefix)\(index)"
        self.disk = disk
        self.socketPath = socketPath
        self.export = export
        self.blockBytes = min(blockBytes, 64 << 20)
        self.copiesContents = copiesContents
    }

    /// The node above the disk's while the mirror runs.
    var filterNode: String { filter }

    /// Starts the mirror.
    ///
    /// - Parameter bytesPerSecond: of what the guest does not write itself; 0 without a limit.
    public func attach(_ qmp: QMPClient, bytesPerSecond: UInt64 = 0) throws(HypervisorError) {
        let server: JSONValue = ["type": "unix", "path": .string(socketPath)]
        try command(
            qmp, "blockdev-add",
            [
                "driver": "nbd", "node-name": .string(target), "server": server, "export": .string(export),
                "discard": copiesContents ? "unmap" : "ignore",
            ],
            what: "does not connect to the server for its writes")
        do throws(HypervisorError) {
            try command(
                qmp, "blockdev-mirror",
                [
                    "job-id": .string(job), "device": .string(disk.node), "target": .string(target), "filter-node-name": .string(filter),
                    "sync": copiesContents ? "full" : "none", "copy-mode": "write-blocking", "on-source-error": "stop",
                    "on-target-error": "stop", "granularity": .unsigned(blockBytes), "speed": .unsigned(bytesPerSecond),
                ], what: "cannot be mirrored")
        } catch {
            _ = try? qmp.execute("blockdev-del", arguments: ["node-name": .string(target)])
            throw error
        }
    }

    /// Limits how fast the disk's contents are copied; 0 for no limit.
    public func setSpeed(_ qmp: QMPClient, bytesPerSecond: UInt64) throws(HypervisorError) {
        do throws(QMPError) {
            try qmp.execute("block-job-set-speed", arguments: ["device": .string(job), "speed": .unsigned(bytesPerSecond)])
        } catch {
            // A job that ends at this moment is told of by its event.
            guard error.code == .commandFailed else { throw HypervisorError(error) }
        }
    }

    /// Ends the mirror and takes its node away; nothing happens when there is none.
    ///
    /// A job that ends at once frees what writes under way still use, and QEMU crashes (`mirror_run` and `active_write_settle` in
    /// `block/mirror.c`; seen with 7.2 and 10.0): so one that is in step with its disk completes, for which QEMU lets those writes finish first, and any
    /// other is cancelled while the guest stands still and writes nothing.
    public func detach(_ qmp: QMPClient, timeout: Duration = .seconds(10)) throws(HypervisorError) {
        let end = ContinuousClock.now + timeout
        var isAsked = false
        while let state = try Self.jobs(qmp)[job] {
            guard ContinuousClock.now < end else {
                throw HypervisorError(.timeout, "the mirror of \(disk.name) does not end within \(timeout): the guest's disk may hang")
            }
            if state["ready"]?.bool != true || state["paused"]?.bool == true {
                try Self.withGuestStopped(qmp) { () throws(HypervisorError) in try cancel(qmp, until: end) }
            } else if !isAsked {
                isAsked = true
                // A job that ends by itself at this moment is as good.
                _ = try? qmp.execute("block-job-cancel", arguments: ["device": .string(job)])
            }
            try pause(qmp)
        }
        while try Self.nodes(qmp).contains(target) {
            do throws(QMPError) {
                try qmp.execute("blockdev-del", arguments: ["node-name": .string(target)])
            } catch {
                guard error.code == .commandFailed, ContinuousClock.now < end else { throw HypervisorError(error) }
                try pause(qmp)
            }
        }
    }

    private func cancel(_ qmp: QMPClient, until end: ContinuousClock.Instant) throws(HypervisorError) {
        _ = try? qmp.execute("block-job-cancel", arguments: ["device": .string(job), "force": true])
        while try Self.jobs(qmp)[job] != nil, ContinuousClock.now < end { try pause(qmp) }
    }

    /// Lets nothing be written while something is done, for the guest's QEMU a stop and a `cont`.
    static func withGuestStopped(_ qmp: QMPClient, _ body: () throws(HypervisorError) -> Void) throws(HypervisorError) {
        let status = try monitor { () throws(QMPError) in try qmp.execute("query-status") }
        guard status["running"]?.bool == true else { return try body() }
        var failure: HypervisorError?
        do throws(HypervisorError) {
            _ = try monitor { () throws(QMPError) in try qmp.execute("stop", timeout: .seconds(30)) }
            try body()
        } catch { failure = error }
        // Even when QEMU took too long to stop: it carries out one command after the other.
        _ = try monitor { () throws(QMPError) in try qmp.execute("cont", timeout: .seconds(30)) }
        if let failure { throw failure }
    }

    /// Whether it has told of every write until now.
    public func isWhole(_ qmp: QMPClient) throws(HypervisorError) -> Bool {
        guard let state = try Self.jobs(qmp)[job] else { return false }
        return state["ready"]?.bool == true && state["paused"]?.bool != true && state["io-status"]?.string == "ok"
    }

    /// Takes away every mirror that this kind of object has started, whoever did; true when there was one.
    public static func removeAll(_ qmp: QMPClient) throws(HypervisorError) -> Bool {
        let names = try jobs(qmp).keys.filter { $0.hasPrefix(prefix) } + nodes(qmp).filter { $0.hasPrefix(targetPrefix) }
        let indexes = Set(names.compactMap { Int($0.drop { !$0.isNumber }) })
        let disk = BlockDevice(name: "an earlier protection", file: nil, driver: nil, isReadOnly: false, isRemovable: false)
        for index in indexes { try DiskMirror(index: index, disk: disk, socketPath: "", export: "").detach(qmp) }
        return !indexes.isEmpty
    }

    /// Nodes that QEMU kept above disks although their mirrors are gone, and does not remove: it refuses every new mirror of these disks
    /// ("Need a root block node"). Call it when all mirrors have been removed.
    public static func stuckFilters(_ qmp: QMPClient) throws(HypervisorError) -> [String] {
        var left: [String] = []
        for _ in 0..<attempts {
            left = try nodes(qmp).filter { $0.hasPrefix(filterPrefix) }.sorted()
            if left.isEmpty { break }
            // Whether QEMU lets go shows the next time; one that belongs to a mirror that just ended goes by itself.
            for node in left { _ = try? qmp.execute("blockdev-del", arguments: ["node-name": .string(node)]) }
            usleep(50_000)
        }
        return left
    }

    private static let attempts = 10

    /// Lets QEMU go on for a moment: a job's end needs its main loop.
    private func pause(_ qmp: QMPClient) throws(HypervisorError) {
        try monitor { () throws(QMPError) in _ = try qmp.execute("query-status") }
    }

    /// The mirrors' states, in their order.
    public static func states(_ qmp: QMPClient, of mirrors: [DiskMirror]) throws(HypervisorError) -> [State] {
        let jobs = try jobs(qmp)
        return try mirrors.map { mirror throws(HypervisorError) in
            guard let job = jobs[mirror.job] else {
                throw HypervisorError(.saveFailed, "the mirror of \(mirror.disk.name) ended: its disk or the link failed")
            }
            guard job["paused"]?.bool != true else {
                throw HypervisorError(.saveFailed, "the mirror of \(mirror.disk.name) stopped: its disk or the link failed")
            }
            return State(done: job["offset"]?.uint64 ?? 0, total: job["len"]?.uint64 ?? 0, isReady: job["ready"]?.bool ?? false)
        }
    }

    /// The reason, when an event says that one of the mirrors does not copy every write any more.
    public static func failure(in event: QMPEvent) -> String? {
        guard ["BLOCK_JOB_ERROR", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"].contains(event.name),
            let job = event.data["device"]?.string, job.hasPrefix(prefix)
        else { return nil }
        let why = event.data["error"]?.string ?? event.data["operation"]?.string.map { "\($0) error" } ?? "it ended"
        let index = Int(job.dropFirst(prefix.count)).map { $0 % DiskOverlay.step } ?? 0
        return "QEMU's mirror of disk \(index) failed: \(why)"
    }

    private static func jobs(_ qmp: QMPClient) throws(HypervisorError) -> [String: JSONValue] {
        let answer = try monitor { () throws(QMPError) in try qmp.execute("query-block-jobs") }
        return Dictionary((answer.array ?? []).compactMap { job in job["device"]?.string.map { ($0, job) } }) { first, _ in first }
    }

    private static func nodes(_ qmp: QMPClient) throws(HypervisorError) -> Set<String> {
        let answer = try monitor { () throws(QMPError) in try qmp.execute("query-named-block-nodes", arguments: ["flat": true]) }
        return Set((answer.array ?? []).compactMap { $0["node-name"]?.string })
    }

    private func command(_ qmp: QMPClient, _ name: String, _ arguments: JSONValue, what: String) throws(HypervisorError) {
        do throws(QMPError) {
            try qmp.execute(name, arguments: arguments)
        } catch {
            guard error.code == .commandFailed else { throw HypervisorError(error) }
            throw HypervisorError(.saveFailed, "the disk \(disk.name) \(what): \(error.message)", cause: error)
        }
    }
}
