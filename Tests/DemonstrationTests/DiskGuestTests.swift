import Glibc
import Testing

@testable import Demonstration

/// A guest with a journal in a lab, unprotected.
struct DiskedGuest {
    let lab: Lab
    let launch: GuestLaunch

    init(in lab: Lab, disks: [GuestDisk], qemu: String = "qemu-system-x86_64", change: (inout GuestLaunch) -> Void = { _ in }) throws {
        self.lab = lab
        var launch = GuestLaunch(image: try .cached(), qemu: qemu, dirtyPages: 100)
        launch.disks = disks
        change(&launch)
        self.launch = launch
    }

    func start() throws -> LabGuest {
        let guest = try lab.startGuest(launch)
        print("boot to ready with \(launch.disks.map(\.interface)): \(try guest.waitUntilReady()) ms")
        return guest
    }

    /// Has the clients talk until each has so many replies.
    func talk(replies: Int = 100, then: () throws -> Void = {}) throws -> [ClientRecord] {
        let clients = try lab.startClients()
        try waitFor(seconds: 90) { clients.progress.allSatisfy { $0.received > replies } }
        try then()
        return clients.stop(drainSeconds: 2)
    }
}

private func judge(_ clients: [ClientRecord], chain: SurvivorChain, disk: DiskRecord) -> Verdict {
    Verdict.judge(
        RunRecord(clients: clients, chain: chain, times: RunTimes(), daemons: DaemonFigures(), qemu: "test", seed: 0, disk: disk))
}

/// Every interface with one QEMU, one interface with the newer one.
private let machines = GuestDisk.Interface.allCases.map { ($0, "qemu-system-x86_64") } + newerQEMU.map { (.virtioBlock, $0) }
private let newerQEMU = [getenv("UNDERSTUDY_QEMU_10").map { String(cString: $0) } ?? ""].filter { !$0.isEmpty }

@Suite(.serialized, .enabled(if: canRunGuest && DiskTool.areInstalled, "needs root, QEMU, the guest, qemu-utils and e2fsprogs"))
struct DiskGuestTests {
    @Test(arguments: machines)
    func `a guest's disk holds every replied request once, and a clean file system`(interface: GuestDisk.Interface, qemu: String) throws {
        try withLab { lab in
            let format: DiskImage.Format = interface == .virtioSCSI ? .qcow2 : .raw
            let image = try DiskImage.create(at: lab.host1.folder + "/journal.\(format)", format: format)
            let disk = GuestDisk(image, use: .journal, interface: interface, classicDrive: interface == .sata)
            let machine = try DiskedGuest(in: lab, disks: [disk], qemu: qemu)
            let guest = try machine.start()
            let clients = try machine.talk()
            let chain = try lab.fetchChain()
            #expect(try lab.endJournal() == chain.records.count)
            guest.process.end(grace: 5000)
            let found = try DiskRecord.read(from: image, ending: .unmounted)
            #expect(found.journal == chain.records)
            let verdict = judge(clients, chain: chain, disk: found)
            print(verdict.json)
            #expect(verdict.passed, "\(found.report)")
            var damaged = found
            damaged.journal.remove(at: damaged.journal.count / 2)
            #expect(!judge(clients, chain: chain, disk: damaged).passed)
        }
    }

    @Test(arguments: [GuestDisk.Cache.none, .writeback])
    func `what was replied is on the disk when QEMU is killed, and a restarted guest goes on`(cache: GuestDisk.Cache) throws {
        try withLab { lab in
            let image = try DiskImage.create(at: lab.host1.folder + "/journal.raw")
            let machine = try DiskedGuest(in: lab, disks: [GuestDisk(image, use: .journal, cache: cache)])
            let first = try machine.start()
            let killed = try machine.talk { first.process.end() }
            #expect(killed.contains { $0.connectionError != nil || $0.unanswered > 0 })
            let afterKill = try DiskRecord.read(from: image, ending: .crashed)
            #expect(DiskVerdict.judge(afterKill, clients: killed) == DiskVerdict(missing: 0, duplicated: 0, isClean: true))
            // Not an orderly end, and seen as such.
            #expect(try !DiskRecord.read(from: image, ending: .unmounted).isClean)

            let second = try machine.start()
            let clients = try machine.talk()
            let chain = try lab.fetchChain()
            #expect(try lab.endJournal() == afterKill.journal.count + chain.records.count)
            second.process.end(grace: 5000)
            let found = try DiskRecord.read(from: image, ending: .unmounted)
            #expect(found.journal == afterKill.journal + chain.records)
            #expect(judge(clients, chain: chain, disk: found).passed, "\(found.report)")
            #expect(DiskVerdict.judge(found, clients: killed).missing == 0)
        }
    }

    @Test func `without the wait for the disk a kill loses what clients were told (control)`() throws {
        try withLab { lab in
            // The guest's kernel writes by itself now and then, and a kill right after that loses nothing.
            var lost = 0
            for attempt in 0..<6 where lost == 0 {
                let image = try DiskImage.create(at: lab.host1.folder + "/journal\(attempt).raw")
                let machine = try DiskedGuest(in: lab, disks: [GuestDisk(image, use: .journal)]) { $0.synchronisesJournal = false }
                let guest = try machine.start()
                let clients = try machine.talk { guest.process.end() }
                lost = DiskVerdict.judge(try DiskRecord.read(from: image, ending: .crashed), clients: clients).missing
            }
            #expect(lost > 0)
        }
    }

    @Test func `a guest whose journal was ended serves nobody`() throws {
        try withLab { lab in
            let image = try DiskImage.create(at: lab.host1.folder + "/journal.raw")
            let machine = try DiskedGuest(in: lab, disks: [GuestDisk(image, use: .journal)])
            _ = try machine.start()
            let clients = try lab.startClients()
            try waitFor(seconds: 90) { clients.progress.allSatisfy { $0.received > 20 } }
            let ended = try lab.endJournal()
            let records = clients.stop(drainSeconds: 1)
            let chain = try lab.fetchChain()
            #expect(chain.records.count == ended)
            #expect(records.filter(\.kind.isStream).allSatisfy { $0.connectionError != nil })
            #expect(try lab.endJournal() == ended)
            let found = try DiskRecord.read(from: image, ending: .unmounted)
            #expect(DiskVerdict.judge(found, clients: records) == DiskVerdict(missing: 0, duplicated: 0, isClean: true))
        }
    }

    @Test(arguments: [(DiskImage.Format.raw, GuestDisk.Interface.virtioBlock), (.raw, .virtioSCSI), (.raw, .sata), (.qcow2, .virtioBlock)])
    func `block writers know their disk, and see one that was put back`(format: DiskImage.Format, interface: GuestDisk.Interface) throws {
        try withLab { lab in
            let image = try DiskImage.create(at: lab.host1.folder + "/blocks", format: format, mebibytes: 8, content: .blank)
            let journal = try DiskImage.create(at: lab.host1.folder + "/journal.raw")
            let machine = try DiskedGuest(
                in: lab,
                disks: [GuestDisk(image, use: .blocks, interface: interface), GuestDisk(journal, use: .journal, interface: interface)])
            let guest = try machine.start()
            try waitFor(seconds: 90) { try lab.blockState(checking: false).written > 4000 }
            let state = try lab.blockState(checking: true)
            #expect(state.checked == 2048 && state.wrong == 0 && state.wrongInCheck == 0 && state.firstWrong == nil)
            #expect(!LabFiles.contains("UNDERSTUDY-BLOCKS-BAD", in: guest.serial))

            guest.process.signal(SIGSTOP)
            let early = try BlockContent.read(from: image)
            guest.process.signal(SIGCONT)
            #expect(early.sequences.count == 2048)
            if format == .raw { #expect(early.damaged == 0 && early.written > 1000) }
            // Control: blocks that somebody else wrote are seen, by the guest and in the image.
            guard format == .raw else { return }
            let file = open(image.path, O_RDWR | O_CLOEXEC)
            try #require(file >= 0)
            let strange = [UInt8](repeating: 0x55, count: 4096)
            for block in 0..<64 { #expect(pwrite(file, strange, strange.count, off_t(block * 32 * 4096)) == strange.count) }
            close(file)
            let damaged = try lab.blockState(checking: true)
            #expect(damaged.wrongInCheck > 0 && damaged.wrong > 0 && damaged.firstWrong != nil)
            try waitFor { LabFiles.contains("UNDERSTUDY-BLOCKS-BAD", in: guest.serial) }
            #expect(try lab.blockState(checking: false).wrongInCheck == damaged.wrongInCheck)
        }
    }

    @Test func `a restarted guest's block writers go on with the disk that a killed one left`() throws {
        try withLab { lab in
            let image = try DiskImage.create(at: lab.host1.folder + "/blocks", mebibytes: 8, content: .blank)
            let machine = try DiskedGuest(in: lab, disks: [GuestDisk(image, use: .blocks)])
            let first = try machine.start()
            try waitFor(seconds: 90) { try lab.blockState(checking: false).written > 2000 }
            first.process.end()
            let left = try BlockContent.read(from: image)
            #expect(left.damaged == 0 && left.written > 500)
            _ = try machine.start()
            try waitFor(seconds: 90) { try lab.blockState(checking: false).written > 500 }
            let state = try lab.blockState(checking: true)
            #expect(state.checked == 2048 && state.wrong == 0)
        }
    }
}
