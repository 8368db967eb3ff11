import Demonstration
import Foundation
import Glibc
import Testing

/// The negative controls of the fuzz tests: what they look for is seen when it is there.
@Suite(.enabled(if: RunningDaemon.isPossible, "needs root, openssl and the built programs"))
struct FuzzControlTests {
    @Test func aDaemonThatEndsIsNoticed() throws {
        let daemon = try RunningDaemon()
        #expect(throws: DaemonFailure.self) {
            try FuzzRun(daemon: daemon, name: "control").play(input: { _ in daemon.process.end() }, probe: {})
        }
    }

    /// A child that holds descriptors and memory, beside one that does not: this process itself is shared with the other tests.
    @Test func heldDescriptorsAndMemoryAreSeen() throws {
        let plain = try Holder("echo ready; read line")
        let greedy = try Holder(
            "for i in $(seq 50); do exec {held}</dev/null; done; text=$(head -c 134217728 /dev/zero | tr '\\0' x); echo ready; read line")
        let (before, after) = (try plain.size(), try greedy.size())
        #expect(after.descriptors >= before.descriptors + 40, "\(before) \(after)")
        #expect(after.memory >= before.memory + 100, "\(before) \(after)")
    }

    private final class Holder {
        private let process = Process()
        private let input = Pipe()
        private let output = Pipe()

        /// - Parameter script: says one line when it holds everything, then waits for one.
        init(_ script: String) throws {
            process.executableURL = URL(fileURLWithPath: "/bin/bash")
            process.arguments = ["-c", script]
            process.standardInput = input
            process.standardOutput = output
            try process.run()
        }

        deinit {
            // The children of a test may have inherited that SIGTERM is ignored.
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }

        func size() throws -> ProcessSize {
            #expect(!output.fileHandleForReading.availableData.isEmpty, "the child ended")
            return try ProcessSize(of: process.processIdentifier)
        }
    }

    @Test func theSameSeedGivesTheSameBytes() {
        var (first, second) = (SeededBytes(seed: 7), SeededBytes(seed: 7))
        #expect(first.mutated(first.bytes(100...200)) == second.mutated(second.bytes(100...200)))
    }
}
