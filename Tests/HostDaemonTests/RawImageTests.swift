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
