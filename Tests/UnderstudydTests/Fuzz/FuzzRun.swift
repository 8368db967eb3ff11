import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing

/// Throws inputs at a daemon until the budget is spent, and looks whether it stays what it was.
struct FuzzRun {
    let daemon: RunningDaemon
    let name: String
    /// MiB that the daemon may grow by after the first quarter: allocators keep what they once had.
    static let growth = 64

    /// Runs a test's body on a thread of its own: a minute of it must not hold the other tests up.
    static func onOwnThread(_ body: @escaping @Sendable () throws -> Void) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
        }
    }

    /// - Parameters:
    ///   - input: makes and sends one input, or some; does not wait for an answer for ever.
    ///   - probe: a well-formed request of the kind that was fuzzed; throws unless it is answered.
    func play(input: (inout SeededBytes) throws -> Void, probe: () throws -> Void) throws {
        let seed = Seed.ofThisRun
        print("fuzz \(name): seed \(seed), \(FuzzBudget.seconds) s")
        var numbers = SeededBytes(seed: seed)
        let budget = FuzzBudget()
        let before = try ProcessSize(of: daemon.process.pid)
        var warm: ProcessSize?
        var inputs = 0
        try probe()
        while !budget.isSpent || inputs < 200 {
            try input(&numbers)
            inputs += 1
            if inputs % 100 == 0 { try probe() }
            if warm == nil, budget.isWarm, inputs >= 50 { warm = try ProcessSize(of: daemon.process.pid) }
            guard daemon.process.isRunning else {
                throw DaemonFailure("the daemon ended after \(inputs) inputs, seed \(seed): \(daemon.log.suffix(3000))")
            }
        }
        try probe()
        try forgetMachines()
        // What the last inputs left ends within its own limits.
        try daemon.wait(seconds: 180, for: "\(before.descriptors) descriptors, seed \(seed)") {
            ((try? ProcessSize(of: daemon.process.pid))?.descriptors ?? .max) <= before.descriptors + 4
        }
        let after = try ProcessSize(of: daemon.process.pid)
        print("fuzz \(name): \(inputs) inputs; before \(before), after \(after)")
        #expect(
            after.memory <= max(warm?.memory ?? 0, before.memory) + Self.growth,
            "seed \(seed): \(before), \(String(describing: warm)), \(after)")
    }

    /// What was refused is told until somebody forgets it; nothing that was thrown at the daemon may have become more than that.
    private func forgetMachines() throws {
        try daemon.wait(for: "the end of refused sessions") {
            guard let machines = try? daemon.machines() else { return false }
            for machine in machines { _ = try? daemon.perform(.unprotect(name: machine.name)) }
            return machines.isEmpty
        }
    }
}
