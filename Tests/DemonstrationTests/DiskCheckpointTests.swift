import Glibc
import Testing

@testable import Demonstration

/// QEMU's monitor, for the few commands of these tests.
private struct Monitor: ~Copyable {
    private let socket: Int32

    init(_ path: String) throws {
        socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // SAFETY: sun_path has 108 bytes, the last of which stays zero.
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
        // SAFETY: sockaddr_un is a socket address of the given length; the pointer does not outlive the call.
        var result: Int32 = -1
        // QEMU makes its socket a moment before it listens there, and refuses for a moment after a client has left.
        for _ in 0..<3000 where result != 0 {
            result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
            }
            if result != 0 { usleep(10_000) }
        }
        try #require(result == 0, "no monitor at \(path)")
        _ = try answer("QMP")
        _ = try run(#"{"execute":"qmp_capabilities"}"#)
    }

    deinit { close(socket) }

    /// Sends a command and returns its answer's line.
    func run(_ command: String) throws -> String {
        let bytes = Array(command.utf8)
        try #require(send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
        let answer = try answer("return", "error")
        try #require(!answer.contains(#""error""#), "\(answer)")
        return answer
    }

    /// The next line with one of these members: others are events.
    private func answer(_ members: String...) throws -> String {
        while true {
            var line = [UInt8]()
            var byte: UInt8 = 0
            repeat {
                try #require(ClientSocket.wait(socket, for: POLLIN, milliseconds: 30_000) && recv(socket, &byte, 1, 0) == 1)
                line.append(byte)
            } while byte != UInt8(ascii: "\n")
            let text = String(decoding: line, as: UTF8.self)
            if members.contains(where: { text.contains("\"\($0)\"") }) { return text }
        }
    }
}

/// A machine is put back to a checkpoint of its memory and devices, as a takeover does, here by QEMU's own migration to a file.
@Suite(.serialized, .enabled(if: canRunGuest && DiskTool.areInstalled, "needs root, QEMU, the guest, qemu-utils and e2fsprogs"))
struct DiskCheckpointTests {
    /// Makes a checkpoint of a guest under load: memory to a file, disks to copies; the guest goes on and is killed later.
    private func leaveCheckpoint(of machine: DiskedGuest, clock: (Clients) throws -> Void) throws -> (memory: String, copies: [DiskImage]) {
        let memory = machine.lab.folder + "/memory"
        let guest = try machine.start()
        let clients = try machine.lab.startClients()
        try clock(clients)
        let monitor = try Monitor(guest.qmp)
        _ = try monitor.run(#"{"execute":"stop"}"#)
        _ = try monitor.run(#"{"execute":"migrate","arguments":{"uri":"exec:cat > \#(memory)"}}"#)
        try waitFor { try monitor.run(#"{"execute":"query-migrate"}"#).contains("completed") }
        let copies = machine.launch.disks.map { DiskImage(path: $0.image.path + ".checkpoint", format: $0.image.format) }
        for (disk, copy) in zip(machine.launch.disks, copies) { try DiskTool.run(["cp", "--sparse=always", disk.image.path, copy.path]) }
        _ = try monitor.run(#"{"execute":"cont"}"#)
        let written = try machine.lab.blockState(checking: false).written
        try waitFor(seconds: 90) { try machine.lab.blockState(checking: false).written > written + 500 }
        guest.process.end()
        _ = clients.stop(drainSeconds: 0)
        return (memory, copies)
    }

    /// Starts a guest from a checkpoint's memory on these disks.
    private func restore(_ memory: String, on disks: [GuestDisk], in lab: Lab) throws -> LabGuest {
        let machine = try DiskedGuest(in: lab, disks: disks) { $0.furtherArguments = ["-incoming", "exec:cat \(memory)"] }
        let guest = try lab.startGuest(machine.launch)
        try waitFor { LabFiles.exists(guest.qmp) }
        let monitor = try Monitor(guest.qmp)
        // A machine that was stopped when it was saved stays so.
        try waitFor { try monitor.run(#"{"execute":"query-status"}"#).contains(#""paused""#) }
        _ = try monitor.run(#"{"execute":"cont"}"#)
        return guest
    }

    @Test(arguments: GuestDisk.Interface.allCases)
    func `memory and disks of one checkpoint fit each other, a disk that went on does not`(interface: GuestDisk.Interface) throws {
        try withLab { lab in
            let format: DiskImage.Format = interface == .virtioSCSI ? .qcow2 : .raw
            let blocks = try DiskImage.create(at: lab.host1.folder + "/blocks", format: format, mebibytes: 8, content: .blank)
            let journal = try DiskImage.create(at: lab.host1.folder + "/journal", format: format)
            let disks = [GuestDisk(journal, use: .journal, interface: interface), GuestDisk(blocks, use: .blocks, interface: interface)]
            let checkpoint = try leaveCheckpoint(of: DiskedGuest(in: lab, disks: disks)) { clients in
                try waitFor(seconds: 90) { clients.progress.allSatisfy { $0.received > 50 } }
                try waitFor(seconds: 90) { try lab.blockState(checking: false).written > 2000 }
            }
            let kept = zip(disks, checkpoint.copies).map { disk, copy in
                var kept = disk
                kept.image = copy
                return kept
            }
            let survivor = try restore(checkpoint.memory, on: kept, in: lab)
            let state = try lab.blockState(checking: true)
            #expect(state.checked == 2048 && state.wrong == 0 && state.wrongInCheck == 0)
            let chain = try lab.fetchChain()
            #expect(try lab.endJournal() == chain.records.count)
            survivor.process.end(grace: 5000)
            let found = try DiskRecord.read(from: checkpoint.copies[0], ending: .unmounted)
            #expect(found.isClean, "\(found.report)")
            #expect(found.journal == chain.records)

            // Control: the disk that the guest went on with after its checkpoint.
            let control = try restore(checkpoint.memory, on: disks, in: lab)
            let wrong = try lab.blockState(checking: true)
            #expect(wrong.wrongInCheck > 0)
            try waitFor { LabFiles.contains("UNDERSTUDY-BLOCKS-BAD", in: control.serial) }
        }
    }
}
