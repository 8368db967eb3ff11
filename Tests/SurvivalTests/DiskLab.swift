import Demonstration
import Foundation
import HostAPI
import Testing

/// A pair of hosts whose guest has a journal, a disk of block writers, or both.
final class DiskLab {
    /// How the guest's disks are made and attached.
    struct Setup: CustomTestStringConvertible {
        var format = DiskImage.Format.raw
        var interface = GuestDisk.Interface.virtioBlock
        var cache = GuestDisk.Cache.none
        var classicDrive = false
        var qemu = Requirements.qemu

        var testDescription: String {
            "\(format) on \(interface.rawValue), cache \(cache.rawValue)\(classicDrive ? ", -drive" : ""), \(qemu.hasPrefix("/usr/bin") ? "system's" : "newer") QEMU"
        }
    }

    let pair: ProtectedLab
    /// The images on the first host.
    let journal: DiskImage
    let blocks: DiskImage
    /// The copies on the other host, by `protect`'s choice; known once the guest is protected.
    private(set) var copies: [String] = []

    static var areToolsInstalled: Bool {
        ["/usr/bin/qemu-img", "/usr/sbin/mkfs.ext4"].allSatisfy { FileManager.default.isExecutableFile(atPath: $0) }
    }

    /// - Parameters:
    ///   - storage: makes the place of the images out of a folder of the first host's.
    ///   - over: makes what the guest's disk is out of an image.
    init(
        _ setup: Setup = Setup(), faults: [String: String] = [:], settings: String = ProtectedLab.patient, extraMonitor: Bool = false,
        environment: [String: String] = [:], storage: (_ folder: String) throws -> String = { $0 },
        over: (DiskImage) throws -> DiskImage = { $0 }, change: (inout GuestLaunch) -> Void = { _ in }
    ) throws {
        var images: [DiskImage] = []
        pair = try ProtectedLab(
            faults: faults, settings: settings, qemu: setup.qemu, extraMonitor: extraMonitor, environment: environment,
            disks: { lab in
                let folder = try storage(lab.host1.folder)
                images = try [
                    try DiskImage.create(at: "\(folder)/journal.\(setup.format)", format: setup.format, mebibytes: 32),
                    try DiskImage.create(at: "\(folder)/blocks.\(setup.format)", format: setup.format, mebibytes: 8, content: .blank),
                ].map(over)
                return zip(images, [GuestDisk.Use.journal, .blocks]).map { image, use in
                    GuestDisk(image, use: use, interface: setup.interface, cache: setup.cache, classicDrive: setup.classicDrive)
                }
            }, change: change)
        (journal, blocks) = (images[0], images[1])
    }

    /// Protects the guest under live connections and waits for some epochs.
    func protect(epochs: UInt64 = 5) throws {
        try pair.startClients()
        try pair.protect()
        noteCopies()
        try pair.awaitEpochs(epochs)
    }

    /// Where the backup of the protected guest keeps its disks.
    func noteCopies() {
        copies = pair.status(pair.active)?.disks?.map(\.copy) ?? []
        #expect(copies.count == 2)
    }

    /// The copies held most of the disks already, and only the rest was sent.
    func expectComparison() {
        let disks = pair.status(pair.active)?.disks ?? []
        let differing = disks.reduce(0) { $0 + ($1.differingBytes ?? $1.byteCount) }
        #expect(differing > 0 && differing < disks.reduce(0) { $0 + $1.byteCount } / 2, "\(disks)")
        #expect(disks.contains { ($0.skippedBytes ?? 0) > 0 }, "\(disks)")
        #expect(pair.log(of: pair.active).contains("MiB differed"))
    }

    /// For a host that tells nothing any more: both see the same images.
    func noteSharedImages() { copies = [journal.path, blocks.path] }

    /// The guest knows what it wrote to every block of its disk.
    func expectKnownBlocks(_ place: String) throws {
        let state = try pair.lab.blockState(checking: true)
        #expect(state.checked > 0 && state.wrongInCheck == 0 && state.wrong == 0, "\(place): \(state)\n\(pair.logs)")
    }

    /// What the survivor's guest, its disks and the clients say: everything must agree.
    func expectWhole() throws {
        try expectKnownBlocks("at the end")
        let verdict = try pair.verdict { lab, chain in
            #expect(try lab.endJournal() == chain.records.count)
            return try DiskRecord.read(from: DiskImage(path: self.copies[0], format: .raw), ending: .unmounted)
        }
        #expect(verdict.passed && verdict.disk != nil, "\(verdict.json)")
    }
}
