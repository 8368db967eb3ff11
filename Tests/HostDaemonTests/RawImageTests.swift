import Foundation
import Glibc
import Testing

@testable import HostDaemon

/// Images that are block devices with blocks of 4 KiB, as the disks of today are.
@Suite(.enabled(if: LoopDevice.canRun, "needs root and losetup")) struct RawImageTests {
    @Test func `a part of a device's block is cleared like anything else`() throws {
        let device = try LoopDevice(byteCount: 1 << 20, sectorBytes: 4096)
        let image = try RawImage(shared: device.path, byteCount: 1 << 20)
        let ones = [UInt8](repeating: 1, count: 16_384)
        try ones.withUnsafeBytes { (bytes) throws(HostDaemonError) in try image.write(bytes, at: 0) }
        try image.clear(at: 512, length: 1024)
        try image.clear(at: 4096, length: 4096)
        try image.flush()
        var found = [UInt8](repeating: 7, count: 16_384)
        try found.withUnsafeMutableBytes { (bytes) throws(HostDaemonError) in try image.read(into: bytes, at: 0) }
        let zeroes = found.indices.filter { found[$0] == 0 }
        #expect(zeroes == Array(512..<1536) + Array(4096..<8192))
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
