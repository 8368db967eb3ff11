extension MachineFacts {
    /// What the introspection of the primary found. Taps count as having virtio-net headers, which QEMU gives every tap it opens itself.
    public init(_ description: MachineDescription) {
        var taps: [String: Tap] = [:]
        for backend in description.networkBackends {
            if let interface = backend.interface { taps[backend.id] = Tap(name: interface, queues: backend.queues) }
        }
        self.init(
            executable: description.process.executable, workingDirectory: description.process.workingDirectory,
            machineType: description.machineType, vmGenerationID: description.generationID, taps: taps,
            unpluggedDevices: description.unpluggedDevices)
    }
}
