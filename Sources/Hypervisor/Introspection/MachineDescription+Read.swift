public import QMP

extension MachineDescription {
    /// Reads the description of the QEMU behind `qmp`. Nothing is changed in it. Takes some tens of milliseconds.
    ///
    /// Throws `.processNotFound`, `.ramBlockNotFound`, `.ramBlockAmbiguous`, `.unknownAnswer`, or what the monitor's failure maps to.
    public static func read(from qmp: QMPClient) throws(HypervisorError) -> MachineDescription {
        let reader = MachineReader(qmp: qmp)
        let process = try ProcessDescription.identify(behind: qmp)
        let networks = try reader.networks(process: process.id)
        let reasons = try reader.ask("query-migrate")["blocked-reasons"]?.array ?? []
        guard let status = try reader.ask("query-status")["status"]?.string else {
            throw HypervisorError(.unknownAnswer, "QEMU does not tell its status")
        }
        return MachineDescription(
            process: process, version: qmp.version, machineType: try reader.machineType(),
            accelerator: try reader.accelerator(arguments: process.arguments), memorySize: try reader.memorySize(),
            ramBlocks: try reader.ramBlocks(process: process.id), memoryBackends: try reader.memoryBackends(),
            cpuCount: try reader.ask("query-cpus-fast").array?.count ?? 0, networkBackends: networks.backends, networkCards: networks.cards,
            blockDevices: try reader.blockDevices(), characterDevices: try reader.characterDevices(), devices: try reader.devices(),
            trustedPlatformModules: try reader.trustedPlatformModules(),
            generationID: try reader.askIfPossible("query-vm-generation-id")?["guid"]?.string,
            name: try reader.ask("query-name")["name"]?.string, uuid: try reader.askIfPossible("query-uuid")?["UUID"]?.string,
            blockedReasons: reasons.map { $0.string ?? "unknown" }, status: status)
    }

    /// Guest RAM in bytes at this moment, hot-plugged memory included.
    public static func memorySize(of qmp: QMPClient) throws(HypervisorError) -> UInt64 { try MachineReader(qmp: qmp).memorySize() }

    /// Why QEMU says at this moment that the machine cannot be migrated. To be asked again while protected: blockers come and go, and
    /// saving an unmigratable device crashes QEMU.
    public static func blockedReasons(of qmp: QMPClient) throws(HypervisorError) -> [String] {
        let reasons = try MachineReader(qmp: qmp).ask("query-migrate")["blocked-reasons"]?.array ?? []
        return reasons.map { $0.string ?? "unknown" }
    }
}
