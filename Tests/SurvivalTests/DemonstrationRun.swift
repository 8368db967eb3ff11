import Demonstration
import Foundation
import Testing

@Suite(.serialized) struct DemonstrationRun {
    /// The main promise: the first host dies under live connections, and nobody outside can tell.
    @Test(.enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
    func connectionsSurviveTheDeathOfTheirHost() throws {
        let lab = try LaboratoryFailure.settingUp { try Lab.create(stateFolder: Requirements.stateFolder, prefix: "ustest") }
        defer { try? lab.destroy() }
        let verdict = try DemoRun(DemoOptions(daemon: Requirements.daemon, seed: 1), in: lab, tell: { _ in }).play()
        #expect(verdict.passed, "\(verdict.json)")
    }
}
