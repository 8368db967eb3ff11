import Foundation
import Glibc
import Hypervisor
import Testing

@testable import HostDaemon

/// Images that are block devices with blocks of 4 KiB, as the disks of today are.
@Suite(.enabled(if: LoopDevice.canRun, "needs root and losetup")) struct RawImageTests {
    @Test func `a part of a device's block is cleared like anything else`() throws {
        let device = try LoopDevice(byteCount: 1 << 20, sectorBytes: 4096)
        let image = try RawImage(shared: device.path, byteCount: 1 << 20)
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 16_384, alignment: 4096)
        defer { bytes.deallocate() }
        bytes.initializeMemory(as: UInt8.self, repeating: 1)
        try image.write(UnsafeRawBufferPointer(bytes), at: 0)
        try image.clear(at: 512, length: 1024)
        try image.clear(at: 4096, length: 4096)
        try image.flush()
        try image.read(into: bytes, at: 0)
        let zeroes = bytes.indices.filter { bytes[$0] == 0 }
        #expect(zeroes == Array(512..<1536) + Array(4096..<8192))
    }
}

/// Two hosts may give two devices one name.
@Suite(.enabled(if: LoopDevice.canRun, "needs root and losetup")) struct SharedDeviceTests {
    private static let byteCount: UInt64 = 1 << 20

    private func device(holding byte: UInt8) throws -> LoopDevice {
        let device = try LoopDevice(byteCount: Int(Self.byteCount))
        let image = try RawImage(shared: device.path, byteCount: Self.byteCount)
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(Self.byteCount), alignment: 4096)
        defer { bytes.deallocate() }
        bytes.initializeMemory(as: UInt8.self, repeating: byte)
        try image.write(UnsafeRawBufferPointer(bytes), at: 0)
        try image.flush()
        return device
    }

    private func image(_ device: LoopDevice, name: String) throws -> SharedImage {
        let disk = BlockDevice(
            name: "d0", file: device.path, driver: "raw", isReadOnly: false, isRemovable: false, node: "d0", byteCount: Self.byteCount)
        var image = try SharedImage(of: disk, workingDirectory: "/")
        image.worldWideName = name
        return image
    }

    @Test func `devices of one name are one device only when they hold the same`() throws {
        let (first, second, blank) = (try device(holding: 1), try device(holding: 2), try device(holding: 0))
        for name in ["naa.600508", "t10.ATA     QEMU HARDDISK   QM00001"] {
            #expect(try image(first, name: name).isSameDevice(as: image(first, name: name)))
            #expect(try !image(second, name: name).isSameDevice(as: image(first, name: name)))
            #expect(try !image(first, name: name).isSameDevice(as: image(first, name: name + "1")))
        }
        // Of a blank disk the name must be enough.
        #expect(try image(blank, name: "naa.600508").isSameDevice(as: image(blank, name: "naa.600508")))
        #expect(try !image(blank, name: "t10.ATA").isSameDevice(as: image(blank, name: "t10.ATA")))
    }

    @Test func `a guest that writes meanwhile changes some blocks and not most`() {
        let sample = DeviceSample(digests: Array(1...64))
        var changed = sample
        for index in 0..<16 { changed.digests[index] = 0 }
        #expect(sample.resembles(changed))
        changed.digests[16] = 0
        #expect(!sample.resembles(changed) && !sample.resembles(DeviceSample(digests: [])))
    }

    @Test func `a device of another size is refused`() throws {
        let device = try device(holding: 1)
        var shared = try image(device, name: "naa.600508")
        shared.byteCount /= 2
        #expect(throws: HostDaemonError.self) { _ = try shared.demandSame(at: device.path) }
    }
}

/// QEMU's own tools respect the locks that the daemon holds in the place of the guest's QEMU.
@Suite(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/qemu-io"), "needs qemu-utils")) struct ImageLockTests {
    private func canWrite(_ path: String) throws -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/qemu-io")
        process.arguments = ["-f", "raw", "-c", "write 0 512", path]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return process.terminationStatus == 0
    }

    @Test func `no other QEMU writes to an image that is locked in the guest's place`() throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("understudy-lock-\(UUID().uuidString)").path
        try Data(count: 65_536).write(to: URL(fileURLWithPath: path))
        defer { unlink(path) }
        let image = try RawImage(shared: path, byteCount: 65_536)
        #expect(try canWrite(path))
        ImageLock.setAsQEMU(true, image.descriptor)
        #expect(try !canWrite(path))
        ImageLock.setAsQEMU(false, image.descriptor)
        #expect(try canWrite(path))
    }
}
