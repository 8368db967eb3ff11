internal import Demonstration
internal import HostAPI

extension BenchmarkOptions {
    /// A laboratory with arbiter and daemons, which is gone afterwards, whatever `measure` does.
    ///
    /// - Parameter prepared: called with the laboratory before anything is started in it.
    func inLaboratory(prepared: (Lab) -> Void = { _ in }, _ measure: (Lab, LabDaemons) throws -> Void) throws {
        let lab = try Lab.create(stateFolder: stateFolder, prefix: "usbench")
        prepared(lab)
        do {
            try lab.startArbiter()
            try measure(lab, try LabDaemons.start(in: lab, program: daemon))
        } catch {
            // What broke off is told; a laboratory that cannot be removed now is removed by its guard at the end of this process.
            try? lab.destroy()
            throw error
        }
        try lab.destroy()
    }
}

extension LabDaemons {
    /// The status of a machine that the first host protects.
    /// - Throws: `BenchmarkError` when it does not.
    func protectedMachine(_ name: String) throws -> MachineStatus {
        guard let status = try first.machine(name), status.state == .protected else {
            throw BenchmarkError("the guest is not protected any more: is this machine busy with other work?")
        }
        return status
    }
}
