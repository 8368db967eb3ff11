import Foundation
import Glibc
import Hypervisor
import Testing

@testable import HostDaemon

/// Nothing is taken over before it is confirmed that the old host writes no more.
@Suite struct FenceTests {
    private final class Bench {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("understudy-fence-\(UUID().uuidString)").path
        var image: String { "\(folder)/image" }

        init() throws {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try Data(count: 4096).write(to: URL(fileURLWithPath: image))
        }

        deinit { try? FileManager.default.removeItem(atPath: folder) }

        func fence(locks: Bool, agent: String? = nil, grace: Double = 0, skipped: Bool = false) throws -> Fence {
            var configuration: FencingConfiguration?
            if let agent {
                let path = "\(folder)/agent"
                try "#!/bin/sh\ncat > \(folder)/told\n\(agent)\n".write(toFile: path, atomically: true, encoding: .utf8)
                chmod(path, 0o755)
                let text =
                    #"{"agent": "\#(path)", "timeout-s": 1, "grace-s": \#(grace), "hosts": {"alpha": {"ip": "192.0.2.1", "plug": "3"}}}"#
                configuration = try JSONDecoder().decode(FencingConfiguration.self, from: Data(text.utf8))
            }
            return try Fence(
                paths: [image], lengths: [4096], locksAreSeen: locks, peer: "alpha", configuration: configuration, isSkipped: skipped)
        }

        /// Tries until it is confirmed or the agent fails.
        func settle(_ fence: Fence) throws -> [RawImage] {
            while true {
                if let images = try fence.attempt() { return images }
                usleep(1_000)
            }
        }
    }

    @Test func `the lock of a living writer is in the way, and its end is enough`() throws {
        let bench = try Bench()
        let fence = try bench.fence(locks: true)
        var writer: RawImage? = try RawImage(shared: bench.image, byteCount: 4096)
        #expect(writer != nil)
        for _ in 0..<10 { #expect(try fence.attempt() == nil) }
        writer = nil
        #expect(try bench.settle(fence).count == 1)
    }

    @Test func `the other host's word is enough`() throws {
        let bench = try Bench()
        let fence = try bench.fence(locks: false, agent: "exit 1")
        fence.confirmByWord()
        #expect(try bench.settle(fence).count == 1)
    }

    @Test func `an agent counts when it says that the host is off`() throws {
        let bench = try Bench()
        let agent = "if grep -q '^action=status$' \(bench.folder)/told; then exit 2; fi; grep -q '^plug=3$' \(bench.folder)/told"
        #expect(try bench.settle(try bench.fence(locks: false, agent: agent)).count == 1)
    }

    @Test func `an agent is not asked while the other host may still give its word`() throws {
        let bench = try Bench()
        let fence = try bench.fence(locks: false, agent: "exit 0", grace: 60)
        for _ in 0..<100 { #expect(try fence.attempt() == nil) }
        fence.confirmByWord()
        #expect(try bench.settle(fence).count == 1)
        #expect(!FileManager.default.fileExists(atPath: "\(bench.folder)/told"))
    }

    @Test func `an image that this host cannot open is told though the other host is fenced`() throws {
        let bench = try Bench()
        let fence = try bench.fence(locks: false, agent: "exit 1")
        fence.confirmByWord()
        unlink(bench.image)
        let error = #expect(throws: HostDaemonError.self) { _ = try fence.attempt() }
        #expect(error?.message.contains(bench.image) == true && fence.isConfirmed)
    }

    @Test(arguments: ["exit 1", "exit 0", "sleep 60"]) func `an agent that fails, leaves the host on or hangs confirms nothing`(
        agent: String
    )
        throws
    {
        let bench = try Bench()
        let fence = try bench.fence(locks: false, agent: agent)
        #expect(throws: HostDaemonError.self) { _ = try bench.settle(fence) }
        // It is asked again.
        #expect(throws: HostDaemonError.self) { _ = try bench.settle(fence) }
    }

    @Test func `without a lock that can be seen and without an agent shared disks are refused`() throws {
        let error = #expect(throws: HostDaemonError.self) { _ = try Bench().fence(locks: false) }
        #expect(error?.message.contains("name a fence agent") == true)
    }

    @Test func `an image is the same only with the proof beside it and as the same file`() throws {
        let bench = try Bench()
        let disk = BlockDevice(
            name: "d0", file: bench.image, driver: "raw", isReadOnly: false, isRemovable: false, node: "d0", byteCount: 4096)
        let shared = try SharedImage(of: disk, workingDirectory: "/")
        #expect(try shared.demandSame(at: bench.image))
        let copy = "\(bench.folder)/copy"
        for suffix in ["", ".understudy-proof"] {
            try FileManager.default.copyItem(atPath: bench.image + suffix, toPath: copy + suffix)
        }
        #expect(throws: HostDaemonError.self) { _ = try shared.demandSame(at: copy) }
        shared.removeProof()
        #expect(throws: HostDaemonError.self) { _ = try shared.demandSame(at: bench.image) }
        var other = disk
        other.driver = "qcow2"
        #expect(throws: HostDaemonError.self) { _ = try SharedImage.lay(for: [disk, other], workingDirectory: "/") }
        #expect(!FileManager.default.fileExists(atPath: bench.image + ".understudy-proof"))
    }

    @Test func `another kernel's locks are not trusted`() throws {
        let bench = try Bench()
        let disk = BlockDevice(
            name: "d0", file: bench.image, driver: "raw", isReadOnly: false, isRemovable: false, node: "d0", byteCount: 4096)
        var shared = try SharedImage(of: disk, workingDirectory: "/")
        shared.kernel = "another"
        #expect(try !shared.demandSame(at: bench.image))
    }
}
