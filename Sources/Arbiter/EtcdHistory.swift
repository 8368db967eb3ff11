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
    private let inBackground: Bool
    private let writing = Mutex<Void>(())

    /// - Parameters:
    ///   - path: of a file that this object writes; nil: nothing outlives it.
    ///   - inBackground: writes it by a thread of its own.
    public init(path: String?, inBackground: Bool = true) throws(ArbiterError) {
        self.path = path
        self.inBackground = inBackground
        var seen: Seen?
        if let path, FileManager.default.fileExists(atPath: path) {
            do { seen = try JSONDecoder().decode(Seen.self, from: Data(contentsOf: URL(fileURLWithPath: path))) } catch {
                throw ArbiterError(
                    .badConfiguration, "\(path), which says what was seen of etcd, cannot be read: look at it, or remove it.", cause: error)
            }
        }
        state = Mutex((seen, seen))
    }

    /// What had been seen when a question was asked: its answer must not be older. Answers to other questions may be noted meanwhile.
    struct Floor: Sendable {
        var revision: Int64
        var changed: Int64
    }

    /// Call it before a question about `key` is asked.
    func floor(of key: String) -> Floor {
        state.withLock { Floor(revision: $0.seen?.revision ?? 0, changed: $0.seen?.keys[key] ?? 0) }
    }

    /// Takes note of an answer.
    ///
    /// - Parameters:
    ///   - changed: the revision of the key's last change, when the answer tells; nil for one that is absent, which may have been deleted.
    ///   - floor: from before the question.
    /// - Throws: `.wentBack`.
    func admit(
        cluster: String, revision: Int64, key: String, changed: Int64?, floor: Floor, from endpoint: String
    ) throws(ArbiterError) {
        if revision < floor.revision { throw refusal(endpoint, "is at revision \(revision), and \(floor.revision) was seen before") }
        if let changed, changed < floor.changed {
            throw refusal(endpoint, "holds \(key) as it was at revision \(changed), and revision \(floor.changed) was seen before")
        }
        let known = state.withLock { state -> String? in
            var seen = state.seen ?? Seen(cluster: cluster, revision: revision)
            guard seen.cluster == cluster else { return seen.cluster }
            seen.revision = max(seen.revision, revision)
            if let changed { seen.keys[key] = max(seen.keys[key] ?? 0, changed) }
            state.seen = seen
            return nil
        }
        if let known { throw refusal(endpoint, "is another cluster (\(cluster)) than the one of before (\(known))") }
        save()
    }

    private func refusal(_ endpoint: String, _ what: String) -> ArbiterError {
        ArbiterError(
            .wentBack,
            "The arbiter \(endpoint) \(what): it was restored from a backup, or replaced, and may have forgotten who runs what. Nothing that it says is used. Make sure on every host that each machine runs once, then remove \(path ?? "what was noted") on both hosts and restart understudyd."
        )
    }

    /// By a thread of its own: no decision may wait for a disk, and one that is full or hangs keeps nobody from deciding. What is lost then is some
    /// of the protection against an operator's mistake, after a restart of this daemon.
    private func save() {
        guard let path else { return }
        let hasChanged = state.withLock { state in
            defer { state.written = state.seen }
            return state.seen != state.written
        }
        guard hasChanged else { return }
        let write = { @Sendable [self] in
            writing.withLock { _ in
                // The newest, whichever thread comes last.
                guard let seen = state.withLock({ $0.seen }) else { return }
                try? JSONEncoder().encode(seen).write(to: URL(fileURLWithPath: path), options: .atomic)
            }
        }
        if inBackground { Thread.detachNewThread(write) } else { write() }
    }
}
