public import QMP

/// What can change, or has changed, in a machine since its command line was written.
extension MachineDescription {
    /// Whether memory can be plugged in while the machine runs.
    public var canGrow: Bool { process.arguments.contains { $0.contains("maxmem") } }

    /// Devices that the command line does not name, as `id (type)`: they were plugged in while the machine ran.
    public var hotPluggedDevices: [String] {
        devices.compactMap { device in
            guard device.path.hasPrefix("/machine/peripheral/") else { return nil }
            let id = String(device.path.dropFirst("/machine/peripheral/".count))
            return process.arguments.contains { Self.names(id, in: $0) } ? nil : "\(id) (\(device.type))"
        }
    }

    /// The devices that somebody put into the machine: on the command line or later.
    public var pluggedDevices: [Device] { devices.filter { Self.isPlugged($0.path) } }

    private static let containers = ["/machine/peripheral", "/machine/peripheral-anon"]

    private static func isPlugged(_ path: String) -> Bool {
        containers.contains { path.hasPrefix($0 + "/") && !path.dropFirst($0.count + 1).contains("/") }
    }

    /// The same of a running machine, now.
    public static func pluggedDevices(of qmp: QMPClient) throws(HypervisorError) -> [Device] {
        try MachineReader(qmp: qmp).devices().filter { isPlugged($0.path) }
    }

    /// The ids of devices that the command line names and the machine does not have any more.
    var unpluggedDevices: Set<String> {
        // A description that knows of no device at all says nothing.
        guard !devices.isEmpty, let arguments = try? QEMUArgument.parse(process.arguments.dropFirst()) else { return [] }
        // What cannot be parsed is refused when the standby's command line is made.
        let present = Set(devices.map(\.path))
        var ids: Set<String> = []
        for argument in arguments where argument.option == "-device" {
            guard let id = (try? OptionValue(parsing: argument.value ?? "", impliedKey: "driver"))?["id"] else { continue }
            if !present.contains("/machine/peripheral/\(id)") { ids.insert(id) }
        }
        return ids
    }

    /// Whether an argument gives something the id: `...,id=ID,...` or JSON.
    private static func names(_ id: String, in argument: String) -> Bool {
        if argument.hasPrefix("{") { return argument.filter { !$0.isWhitespace }.contains("\"id\":\"\(id)\"") }
        return argument.split(separator: ",").contains { $0 == "id=\(id)" }
    }
}
