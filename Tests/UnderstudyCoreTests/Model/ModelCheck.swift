// SPDX-License-Identifier: Apache-2.0

@testable import UnderstudyCore

/// A breadth-first search over all states that can be reached within bounds. What is kept of a visited state is its hash, 64 bits of SipHash
/// under a random key: with ten million states two share one with a probability below 10^-5.
struct ModelCheck {
    struct Result {
        var states = 0
        var transitions = 0
        /// The first violation and the steps that lead to it; nil when there is none.
        var violation: (what: String, steps: [String])?
        /// How many states show each situation: the search means something only if it gets there.
        var seen: [String: Int] = [:]
        /// The search ended because it had looked at as many states as it might.
        var isCut = false
    }

    var bounds = ModelState.Bounds()
    var mutation: ModelState.Mutation?
    var limit = 5_000_000

    func run() -> Result {
        var result = Result()
        var visited: Set<Int> = []
        var parents: [Int32] = [-1]
        var hashes: [Int] = [0]
        var frontier: [(state: ModelState, index: Int32)] = [(ModelState(bounds, mutation), 0)]
        visited.insert(frontier[0].state.hashValue)
        while !frontier.isEmpty {
            var next: [(state: ModelState, index: Int32)] = []
            for (state, index) in frontier {
                note(state, in: &result)
                for step in state.steps {
                    result.transitions += 1
                    let following = state.after(step, mutation)
                    let hash = following.hashValue
                    guard visited.insert(hash).inserted else { continue }
                    parents.append(index)
                    hashes.append(hash)
                    if let what = following.violation {
                        result.states = visited.count
                        result.violation = (what, trace(parents, hashes))
                        return result
                    }
                    next.append((following, Int32(parents.count - 1)))
                }
                if visited.count > limit {
                    (result.states, result.isCut) = (visited.count, true)
                    return result
                }
            }
            frontier = next
        }
        result.states = visited.count
        return result
    }

    private func note(_ state: ModelState, in result: inout Result) {
        if state.backupRuns { result.seen["the backup's guest runs", default: 0] += 1 }
        if state.primary?.state == .solo { result.seen["the primary is alone", default: 0] += 1 }
        if state.backup?.state == .failed(.handedBack) { result.seen["handed back", default: 0] += 1 }
        if case .ended(.takenOver)? = state.primary?.state { result.seen["the old guest was ended", default: 0] += 1 }
        if case .switchingOver? = state.primary?.state { result.seen["a switchover is under way", default: 0] += 1 }
        if state.recovery != nil { result.seen["a takeover is recovered", default: 0] += 1 }
        if state.released == bounds.epochs { result.seen["every epoch is released", default: 0] += 1 }
    }

    /// Walks the way to the last state again, from hash to hash.
    private func trace(_ parents: [Int32], _ hashes: [Int]) -> [String] {
        var way: [Int] = []
        var index = parents.count - 1
        while index > 0 {
            way.append(hashes[index])
            index = Int(parents[index])
        }
        var state = ModelState(bounds, mutation)
        return way.reversed().map { hash in
            guard let step = state.steps.first(where: { state.after($0, mutation).hashValue == hash }) else { return "?" }
            state = state.after(step, mutation)
            return "\(step)"
        }
    }
}
