// SPDX-License-Identifier: Apache-2.0

/// One protocol's talk with the arbiter: at most one question at a time, numbered, asked again until it is answered.
struct ArbiterConversation: Sendable, Hashable {
    enum Topic: Sendable, Hashable {
        case read
        case decision(Decision)
    }

    enum Outcome: Sendable, Hashable {
        /// Not the reply to the question that is open.
        case ignored
        /// Nothing is known yet; the question will be asked again. The reason is given once per question.
        case undecided(reason: String?)
        case read(ArbiterRecord?)
        case won(ArbiterRecord?)
        case lost(ArbiterRecord?)
    }

    private let retry: UInt64
    private(set) var topic: Topic?
    private var number: UInt64 = 0
    private var awaiting = false
    private var retryAt: UInt64 = 0
    private var complained = false

    init(retry: UInt64) {
        self.retry = retry
    }

    var isIdle: Bool { topic == nil }

    mutating func read() -> ArbiterRequest {
        open(.read)
    }

    mutating func decide(_ proposal: ArbiterProposal) -> ArbiterRequest {
        open(.decision(Decision(proposal)))
    }

    /// Gives up the question; a late reply to it will be ignored.
    mutating func close() {
        topic = nil
        awaiting = false
    }

    /// The open question once more, if its last reply told nothing and the pause since then is over.
    mutating func due(now: UInt64) -> ArbiterRequest? {
        guard topic != nil, !awaiting, now >= retryAt else { return nil }
        return request()
    }

    mutating func answered(_ number: UInt64, _ answer: ArbiterAnswer, now: UInt64) -> Outcome {
        guard awaiting, number == self.number, let topic else { return .ignored }
        guard case .decision(var decision) = topic else { return undecided("the arbiter answered another question", now: now) }
        switch decision.answered(answer) {
        case .won(let record): return settled(.won(record))
        case .lost(let current): return settled(.lost(current))
        case .undecided: break
        }
        if case .unknown(let reason) = answer { return undecided(reason, now: now) }
        return undecided("the arbiter's answer contradicts the proposal", now: now)
    }

    mutating func answered(_ number: UInt64, _ reading: ArbiterReading, now: UInt64) -> Outcome {
        guard awaiting, number == self.number, topic != nil else { return .ignored }
        guard topic == .read else { return undecided("the arbiter answered another question", now: now) }
        switch reading {
        case .record(let record): return settled(.read(record))
        case .unknown(let reason): return undecided(reason, now: now)
        }
    }

    private mutating func open(_ topic: Topic) -> ArbiterRequest {
        if case .decision(let open)? = self.topic { preconditionFailure("undecided proposal \(open.proposal) must not be given up") }
        self.topic = topic
        complained = false
        return request()
    }

    private mutating func request() -> ArbiterRequest {
        number += 1
        awaiting = true
        guard case .decision(let decision)? = topic else { return ArbiterRequest(number: number, operation: .read) }
        return ArbiterRequest(number: number, operation: .compareAndSet(decision.proposal))
    }

    private mutating func settled(_ outcome: Outcome) -> Outcome {
        close()
        return outcome
    }

    private mutating func undecided(_ reason: String, now: UInt64) -> Outcome {
        awaiting = false
        retryAt = now &+ retry
        defer { complained = true }
        return .undecided(reason: complained ? nil : reason)
    }
}
