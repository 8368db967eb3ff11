// SPDX-License-Identifier: Apache-2.0

/// Pursues one proposal until the arbiter has settled it, however many replies are lost.
///
/// A lost reply is a point of no return: the proposal may have been carried out, so it is neither given up nor replaced. The same
/// proposal is tried again until the stored record tells: it is ours (won), or it is one from which ours can never follow (lost).
public struct Decision: Sendable, Hashable {
    public enum Verdict: Sendable, Hashable {
        /// Nothing is known: ask the same again. Nobody goes on before.
        case undecided
        case won(ArbiterRecord?)
        case lost(current: ArbiterRecord?)
    }

    public let proposal: ArbiterProposal
    /// The last verdict; a settled one never changes.
    public private(set) var verdict: Verdict = .undecided

    public init(_ proposal: ArbiterProposal) {
        self.proposal = proposal
    }

    /// Takes the reply to one try of the proposal.
    public mutating func answered(_ answer: ArbiterAnswer) -> Verdict {
        guard verdict == .undecided else { return verdict }
        switch answer {
        case .won(let record) where record == proposal.proposed: verdict = .won(record)
        case .won, .unknown: break
        case .lost(let current): settle(stored: current)
        }
        return verdict
    }

    /// Takes the outcome of a read that was made after the proposal. The expected record proves nothing: a try may still be under way.
    public mutating func read(_ reading: ArbiterReading) -> Verdict {
        guard verdict == .undecided, case .record(let current) = reading else { return verdict }
        settle(stored: current)
        return verdict
    }

    private mutating func settle(stored: ArbiterRecord?) {
        if stored == proposal.proposed {
            verdict = .won(stored)
        } else if stored != proposal.expected {
            verdict = .lost(current: stored)
        }
    }
}
