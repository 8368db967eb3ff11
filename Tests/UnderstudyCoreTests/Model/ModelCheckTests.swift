// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import UnderstudyCore

/// Every order of everything, within bounds.
struct ModelCheckTests {
    /// Two faults at once take minutes: `UNDERSTUDY_MODEL_CHECK=pairs`.
    static let wantsPairs = getenv("UNDERSTUDY_MODEL_CHECK").map { String(cString: $0) } == "pairs"

    static let pairs: [[ModelState.Fault]] = ModelState.Fault.allCases.flatMap { first in
        ModelState.Fault.allCases.drop { $0 != first }.dropFirst().map { [first, $0] }
    }

    private func search(_ bounds: ModelState.Bounds) {
        let result = ModelCheck(bounds: bounds).run()
        print("model check \(bounds.faults.keys): \(result.states) states, \(result.transitions) steps, \(result.seen)")
        #expect(result.violation == nil, "\(result.violation?.what ?? ""):\n\(result.violation?.steps.joined(separator: "\n") ?? "")")
        #expect(!result.isCut, "the bounds are too wide for an exhaustive search")
        // What was not reached was not checked.
        for situation in ["the backup's guest runs", "the primary is alone", "the old guest was ended", "every epoch is released"] {
            #expect(result.seen[situation] ?? 0 > 0, "\(situation)")
        }
        if bounds.faults[.switchover] != nil { #expect(result.seen["a switchover is under way"] ?? 0 > 0) }
        if bounds.faults[.activationFails] != nil { #expect(result.seen["handed back"] ?? 0 > 0) }
        if bounds.faults[.backupDaemonRestarts] != nil { #expect(result.seen["a takeover is recovered"] ?? 0 > 0) }
    }

    @Test(arguments: ModelState.Fault.allCases)
    func `no order of messages, losses and silences around a fault breaks output commit, whole epochs or the one active guest`(
        _ fault: ModelState.Fault
    ) { search(ModelState.Bounds(faults: [fault: 1])) }

    @Test(.enabled(if: wantsPairs, "takes minutes: UNDERSTUDY_MODEL_CHECK=pairs"), arguments: pairs)
    func `nor does any around two faults`(_ faults: [ModelState.Fault]) {
        search(ModelState.Bounds(epochs: 1, faults: [faults[0]: 1, faults[1]: 1]))
    }

    @Test(arguments: ModelState.Mutation.allCases)
    func `a deliberate mistake is found, with the shortest way to it`(_ mutation: ModelState.Mutation) {
        let faults: [ModelState.Fault: Int] =
            switch mutation {
            case .resumesBeforeConfirmation: [.primaryDaemonRestarts: 1]
            case .takesTornForWhole: [.epochTorn: 1]
            default: [:]
            }
        let result = ModelCheck(bounds: ModelState.Bounds(faults: faults), mutation: mutation).run()
        #expect(result.violation.map { !$0.steps.isEmpty && !$0.steps.contains("?") } == true, "\(mutation): \(result.states) states")
    }
}
