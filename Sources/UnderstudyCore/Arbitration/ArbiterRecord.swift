// SPDX-License-Identifier: Apache-2.0

/// The value of one virtual machine's key at the arbiter: who may run the guest with its output open.
///
/// Every decision replaces one exact record by another one in a single compare-and-set. Nonces are never reused, so a record that
/// was replaced can never come back and a late duplicate of an old proposal can never succeed.
public struct ArbiterRecord: Codable, Sendable, Hashable {
    /// The tenure of a primary. Starts at 1; a missing record is an error and never "generation 0".
    public var generation: UInt64
    /// Name of the host whose guest may reach the world in this generation.
    public var owner: String
    /// Name of the host that is permitted to take over from the owner, if any.
    public var backup: String?
    /// Tells this decision from every other one, see ``lineage``.
    public var nonce: String
    /// False between a takeover's (or hand-back's) decision and the moment at which the guest runs on the new owner.
    public var confirmed: Bool

    public init(generation: UInt64, owner: String, backup: String?, nonce: String, confirmed: Bool) {
        self.generation = generation
        self.owner = owner
        self.backup = backup
        self.nonce = nonce
        self.confirmed = confirmed
    }

    /// The nonces that led here: `session` for a permitted backup, `session/x` for a takeover out of that session, `session/x/y`
    /// for its hand-back. It lets the loser tell its own hand-back from an unrelated record of the same shape.
    public var lineage: [Substring] { nonce.split(separator: "/", omittingEmptySubsequences: false) }

    /// True if this record gives the guest back to `session`'s owner after a takeover out of exactly that record failed.
    public func handsBack(_ session: ArbiterRecord) -> Bool {
        isHandBack(to: session.owner) && generation == session.generation &+ 2 && lineage.first.map(String.init) == session.nonce
    }

    /// True if this record is an unconfirmed hand-back to `host`, out of whatever session.
    public func isHandBack(to host: String) -> Bool {
        owner == host && backup == nil && !confirmed && lineage.count == 3
    }
}
