public import QMP

/// A standby's netdev that is no tap: connected from the start, and deaf and mute until the takeover.
///
/// A `filter-redirector` on the command line takes every frame of both directions into a `null` character device. It is there before QEMU's
/// main loop runs, so that not one frame waits for the guest, and whoever sends to the standby is never kept waiting.
public enum DeafNetwork {
    private static let prefix = "understudy-deaf-"

    /// The options that keep `netdev` deaf.
    static func arguments(for netdev: String) -> [(option: String, value: String)] {
        let name = prefix + netdev
        return [
            ("-chardev", "null,id=\(name)"), ("-object", "filter-redirector,id=\(name),netdev=\(netdev),queue=all,outdev=\(name)"),
        ]
    }

    /// Whether an object or character device of a command line is one of these, of an earlier takeover.
    static func isOwn(_ id: String?) -> Bool { id?.hasPrefix(prefix) == true }

    /// Lets frames pass in both directions at every netdev that is deaf. Idempotent.
    public static func open(_ qmp: QMPClient) throws(HypervisorError) {
        for name in try OutputFilter.objects(qmp) where isOwn(name) {
            try OutputFilter.ask(qmp, "object-del", ["id": .string(name)])
        }
    }

    /// What QEMU says of those stream netdevs that failed to connect: nobody could reach the guest there after a takeover.
    ///
    /// Source: `info network` of QEMU 7.2 (`connection error`) and 10.0 (`error: ...`).
    public static func errors(of netdevs: [String], _ qmp: QMPClient) throws(HypervisorError) -> [String] {
        let listing = try monitor { () throws(QMPError) in try qmp.humanMonitor("info network") }
        return netdevs.compactMap { id in
            let start = " \\ \(id): index=0,type=stream,"
            guard let line = listing.split(separator: "\n").first(where: { $0.hasPrefix(start) })?.dropFirst(start.count),
                line.hasPrefix("error") || line.hasPrefix("connection error")
            else { return nil }
            return "\(id): \(line)"
        }
    }

    /// Takes away what `open` leaves, which does nothing. Idempotent.
    public static func tidy(_ qmp: QMPClient) throws(HypervisorError) {
        for name in try OutputFilter.characterDevices(qmp) where isOwn(name) {
            try OutputFilter.ask(qmp, "chardev-remove", ["id": .string(name)])
        }
    }
}
