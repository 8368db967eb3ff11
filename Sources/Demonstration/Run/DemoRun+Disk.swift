internal import HostAPI

extension DemoRun {
    /// The guest's disk on host1: an empty ext4 file system in a qcow2 image.
    func makeDisk() throws(DemonstrationError) -> GuestDisk {
        GuestDisk(try DiskImage.create(at: "\(lab.host1.folder)/disk.qcow2", format: .qcow2), use: .journal)
    }

    /// Has the survivor unmount its disk, and reads the copy on which it runs.
    ///
    /// The survivor goes on, but writes nothing any more.
    ///
    /// - Parameter machine: its status while it was protected, which says where the copy is.
    func readDisk(of machine: MachineStatus) throws(DemonstrationError) -> DiskRecord {
        guard let copy = machine.disks?.first?.copy else { throw DemonstrationError(.process, "the guest's disk was not replicated") }
        let records = try lab.endJournal()
        let disk = try DiskRecord.read(from: DiskImage(path: copy, format: .raw), ending: .unmounted)
        tell("the survivor has unmounted its disk: \(records) requests in its journal, \(disk.journal.count) of them in host2's image")
        return disk
    }
}
