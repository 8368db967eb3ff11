// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization

/// What this host has seen of its etcd, so that it notices when an older one answers: restored from a backup, or another cluster altogether.
///
/// A store that has gone back may have forgotten a takeover, and whoever asks it could go on with a guest that runs elsewhere. So nothing that it
/// says is believed until the operator has looked. Kept in a file, since a daemon that was restarted is the one that asks.
public final class EtcdHistory: Sendable {
    struct Seen: Codable, Equatable {
        var cluster: String
        /// The newest revision of the store that was seen.
        var revision: Int64
        /// The revision of the last change that was seen of each key.
        var keys: [String: Int64] = [:]
    }

    private let state: Mutex<(seen: Seen?, written: Seen?)>
    private let path: String?

    /// - Parameter path: of a file that this object writes; nil: nothing outlives it.
    public init(path: String?) throws(ArbiterError) {
        self.path = path
        var seen: Seen?
        if let path, FileManager.default.fileExists(atPath: path) {
            do { seen = try JSONDecoder().decode(Seen.self, from: Data(contentsOf: URL(fileURLWithPath: path))) } catch {
                throw ArbiterError(
                    .badConfiguration, "\(path), which says what was seen of etcd, cannot be read: look at it, or remove it.", cause: error)
            }
        }
        state = Mutex((seen, seen))
    }

    /// Takes note of an answer.
    ///
    /// - Parameters:
    ///   - changed: the revision of the key's last change, when the answer tells; nil for one that is absent, which may have been deleted.
    /// - Throws: `.wentBack`.
    func admit(cluster: String, revision: Int64, key: String, changed: Int64?, from endpoint: String) throws(ArbiterError) {
        let refusal = state.withLock { state -> String? in
            guard var seen = state.seen else {
                state.seen = Seen(cluster: cluster, revision: revision, keys: changed.map { [key: $0] } ?? [:])
                return nil
            }
            guard seen.cluster == cluster else { return "is another cluster (\(cluster)) than the one of before (\(seen.cluster))" }
            if let changed, let known = seen.keys[key], changed < known {
                return "holds \(key) as it was at revision \(changed), and revision \(known) was seen before"
            }
            // Answers of several threads may overtake each other: a newer one may have been noted since this one was given.
            seen.revision = max(seen.revision, revision)
            if let changed { seen.keys[key] = changed }
            state.seen = seen
            return nil
        }
        guard let refusal else { return save() }
        throw ArbiterError(
            .wentBack,
            "The arbiter \(endpoint) \(refusal): it was restored from a backup, or replaced, and may have forgotten who runs what. Nothing that it says is used. Make sure on every host that each machine runs once, then remove \(path ?? "what was noted") on both hosts and restart understudyd."
        )
    }

    /// The newest revision that was seen before a question is asked: its answer must not be older.
    var floor: Int64 { state.withLock { $0.seen?.revision ?? 0 } }

    func demand(_ revision: Int64, atLeast floor: Int64, from endpoint: String) throws(ArbiterError) {
        guard revision < floor else { return }
        throw ArbiterError(
            .wentBack,
            "The arbiter \(endpoint) is at revision \(revision), and \(floor) was seen before: it was restored from a backup and may have forgotten who runs what. Nothing that it says is used. Make sure on every host that each machine runs once, then remove \(path ?? "what was noted") on both hosts and restart understudyd."
        )
    }

    /// Without fsync, and a disk that is full keeps nobody from deciding: what is lost is some of the protection against an operator's mistake.
    private func save() {
        guard let path else { return }
        let changed = state.withLock { state -> Seen? in
            guard let seen = state.seen, seen != state.written else { return nil }
            state.written = seen
            return seen
        }
        guard let changed else { return }
        try? JSONEncoder().encode(changed).write(to: URL(fileURLWithPath: path), options: .atomic)
    }
}
