internal import Glibc
public import QMP

/// The way back from overlays to the guest's own disks, for whatever is found in a QEMU.
extension DiskOverlay {
    /// Whether there are overlays, or parts of them.
    public static func hasLeftovers(_ qmp: QMPClient) throws(HypervisorError) -> Bool { try !leftovers(qmp).isEmpty }

    /// Takes all overlays away. What a guest still uses is written into its image by QEMU itself before: nobody else may write to it meanwhile.
    /// The mirrors must have been removed.
    ///
    /// - Returns: whether there was something.
    @discardableResult
    public static func bringAllHome(_ qmp: QMPClient) throws(HypervisorError) -> Bool {
        let found = try leftovers(qmp)
        for overlays in Dictionary(grouping: found, by: \.disk).values {
            let used = try usedNodes(qmp)
            if let top = overlays.first(where: { used[$0.node] != nil }) {
                try top.removeNodes(qmp, top.number + 1..<Int.max)
                if overlays.contains(where: { $0.number < top.number }) {
                    try top.swallowLower(qmp)
                    // QEMU refuses to remove what the top still needs: then it has not taken in everything.
                    try top.removeNodes(qmp, 0..<top.number)
                }
                try top.bringHome(qmp)
            }
            try overlays[0].removeNodes(qmp, 0..<Int.max, andImage: true)
        }
        return !found.isEmpty
    }

    private static func leftovers(_ qmp: QMPClient) throws(HypervisorError) -> [DiskOverlay] {
        (try ask(qmp, "query-fdsets").array ?? []).flatMap { $0["fds"]?.array ?? [] }.compactMap {
            $0["opaque"]?.string.flatMap(DiskOverlay.init(mark:))
        }
    }

    private init?(mark text: String) {
        guard text.hasPrefix("\(Self.mark) ") else { return nil }
        let words = text.dropFirst(Self.mark.count + 1).split(separator: " ")
        guard words.count >= 2, let number = Int(words[0]) else { return nil }
        self.init(number: number, home: String(words[1]), name: String(words[1]))
        isImage = words.count > 2
    }

    /// Takes in what the overlays below hold.
    private func swallowLower(_ qmp: QMPClient) throws(HypervisorError) {
        let job = "understudy-swallow-\(disk)"
        try command(qmp, "block-stream", ["job-id": .string(job), "device": .string(node), "base-node": .string(image)])
        while try state(qmp, of: job) != nil { try rest(qmp) }
    }

    private func bringHome(_ qmp: QMPClient) throws(HypervisorError) {
        let job = "understudy-home-\(disk)"
        try command(
            qmp, "blockdev-mirror",
            [
                "job-id": .string(job), "device": .string(node), "target": .string(home), "filter-node-name": .string(job),
                "sync": "top", "copy-mode": "write-blocking", "on-source-error": "stop", "on-target-error": "stop",
            ])
        while let state = try state(qmp, of: job), state["ready"]?.bool != true {
            // A job that fails while the guest writes must not end before the guest stands still, see `DiskMirror.detach`.
            if state["paused"]?.bool == true { try DiskMirror.withGuestStopped(qmp) { () throws(HypervisorError) in try cancel(qmp, job) } }
            try rest(qmp)
        }
        if try state(qmp, of: job) != nil { try command(qmp, "block-job-complete", ["device": .string(job)]) }
        while try state(qmp, of: job) != nil { try rest(qmp) }
        guard try Self.usedNodes(qmp)[home] != nil else {
            throw HypervisorError(
                .saveFailed, "the writes that were held back for the disk \(home) cannot be written to its image: look after the image")
        }
    }

    private func cancel(_ qmp: QMPClient, _ job: String) throws(HypervisorError) {
        try command(qmp, "block-job-cancel", ["device": .string(job), "force": true])
        while try state(qmp, of: job) != nil { try rest(qmp) }
    }

    private func state(_ qmp: QMPClient, of job: String) throws(HypervisorError) -> JSONValue? {
        try Self.ask(qmp, "query-block-jobs").array?.first { $0["device"]?.string == job }
    }

    /// Lets QEMU go on: a job's progress needs its main loop.
    private func rest(_ qmp: QMPClient) throws(HypervisorError) {
        usleep(1_000)
        _ = try Self.ask(qmp, "query-status")
    }

    /// Removes the disk's overlays of these numbers.
    ///
    /// - Parameter andImage: also what else of ours is there.
    private func removeNodes(_ qmp: QMPClient, _ meant: Range<Int>, andImage: Bool = false) throws(HypervisorError) {
        let present = (try Self.ask(qmp, "query-named-block-nodes", ["flat": true]).array ?? []).compactMap { $0["node-name"]?.string }
        func numbers(_ prefix: String) -> [Int] {
            present.filter { $0.hasPrefix(prefix) }.compactMap { Int($0.dropFirst(prefix.count)) }
                .filter { $0 % Self.step == disk && meant.contains($0) }.sorted(by: >)
        }
        var nodes = numbers(Self.nodePrefix).map { "\(Self.nodePrefix)\($0)" } + numbers(Self.filePrefix).map { "\(Self.filePrefix)\($0)" }
        if andImage { nodes += [image, keeper].filter(present.contains) }
        for node in nodes { try command(qmp, "blockdev-del", ["node-name": .string(node)]) }
        let own = disk
        try Self.removeDescriptors(qmp) { $0.disk == own && meant.contains($0.number) && (andImage || !$0.isImage) }
    }

    static func removeDescriptors(_ qmp: QMPClient, of isMeant: (DiskOverlay) -> Bool) throws(HypervisorError) {
        for set in try ask(qmp, "query-fdsets").array ?? [] {
            let overlays = (set["fds"]?.array ?? []).compactMap { $0["opaque"]?.string.flatMap(DiskOverlay.init(mark:)) }
            guard let number = set["fdset-id"], overlays.contains(where: isMeant) else { continue }
            do throws(QMPError) { try qmp.execute("remove-fd", arguments: ["fdset-id": number]) } catch { throw HypervisorError(error) }
        }
    }
}
