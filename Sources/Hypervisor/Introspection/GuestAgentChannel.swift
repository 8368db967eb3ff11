public import QMP

/// The way to the agent in a guest: a virtio-serial port named `org.qemu.guest_agent.0` whose other end is a Unix socket of QEMU's.
public struct GuestAgentChannel: Sendable, Equatable {
    public enum State: Sendable, Equatable {
        case free
        /// Somebody else is connected, libvirt for one: the socket takes one client.
        case inUse
        /// No program in the guest has opened the port.
        case unopened
    }

    /// Absolute.
    public var path: String
    public var state: State

    private static let portName = "org.qemu.guest_agent.0"

    /// Looks for it in a running QEMU.
    ///
    /// - Returns: nil when the machine has none, or one that is no Unix socket.
    public static func find(in qmp: QMPClient, processID: Int32) throws(HypervisorError) -> GuestAgentChannel? {
        let devices = try monitor { () throws(QMPError) in try qmp.execute("query-chardev", timeout: .seconds(1)) }
        let process = try ProcessDescription(readingProcess: processID)
        return find(arguments: process.arguments, workingDirectory: process.workingDirectory, devices: devices.array ?? [])
    }

    static func find(arguments: [String], workingDirectory: String, devices: [JSONValue]) -> GuestAgentChannel? {
        let ports = arguments.filter { $0.contains("virtserialport") && $0.contains(portName) }
        let labels = ports.compactMap(label)
        guard let device = devices.first(where: { labels.contains($0["label"]?.string ?? "") }), let name = device["filename"]?.string
        else { return nil }
        // QEMU's own words: `disconnected:unix:PATH,server=on` while nobody is connected, else `unix:PATH,server=on`.
        let isFree = name.hasPrefix("disconnected:")
        let rest = isFree ? name.dropFirst("disconnected:".count) : name[...]
        guard rest.hasPrefix("unix:") else { return nil }
        let path = String(rest.dropFirst("unix:".count).prefix { $0 != "," })
        let state: State = !isFree ? .inUse : device["frontend-open"]?.bool == false ? .unopened : .free
        return GuestAgentChannel(path: path.hasPrefix("/") ? path : "\(workingDirectory)/\(path)", state: state)
    }

    /// Of `virtserialport,...,chardev=LABEL,...`, or the same as JSON.
    private static func label(of argument: String) -> String? {
        if let object = (try? JSONValue(parsing: Array(argument.utf8)))?.object { return object["chardev"]?.string }
        let parts = argument.split(separator: ",")
        guard parts.contains("name=\(portName)") else { return nil }
        return parts.first { $0.hasPrefix("chardev=") }.map { String($0.dropFirst("chardev=".count)) }
    }
}
