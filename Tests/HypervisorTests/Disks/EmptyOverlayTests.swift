import Foundation
import Glibc
import Testing

@testable import Hypervisor

@Suite(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/qemu-img"), "needs qemu-utils"))
struct EmptyOverlayTests {
    private func qemu(_ program: String, _ arguments: [String]) throws -> (status: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/\(program)")
        process.arguments = arguments
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: text, as: UTF8.self))
    }

    /// The last size has an L1 table of more than one cluster.
    @Test(arguments: [512, 8 << 20, (1 << 30) + 512, 17 << 44] as [UInt64])
    func `QEMU finds an empty overlay of the disk's size and nothing wrong with it`(byteCount: UInt64) throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("understudy-overlay-\(UUID().uuidString)").path
        defer { unlink(path) }
        let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
        try EmptyOverlay.make(in: descriptor, byteCount: byteCount)
        close(descriptor)
        let check = try qemu("qemu-img", ["check", "-f", "qcow2", path])
        #expect(check.status == 0 && check.output.contains("No errors"), "\(check)")
        let info = try qemu("qemu-img", ["info", "-f", "qcow2", path])
        #expect(info.output.contains("(\(byteCount) bytes)") && info.output.contains("extended l2: true"), "\(info)")
        let last = byteCount - 512
        let write = try qemu("qemu-io", ["-f", "qcow2", "-c", "write -P 7 \(last) 512", "-c", "read -P 7 \(last) 512", path])
        #expect(write.status == 0 && !write.output.contains("failed"), "\(write)")
        let again = try qemu("qemu-img", ["check", "-f", "qcow2", path])
        #expect(again.status == 0, "\(again)")
    }
}
