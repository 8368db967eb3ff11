// SPDX-License-Identifier: Apache-2.0

import NIOCore
import Synchronization

/// The connections of a listener that are accepted by the kernel and not yet authenticated.
final class Greetings: Sendable {
    private let limit: Int
    private let channels = Mutex<[ObjectIdentifier: any Channel]>([:])

    init(limit: Int) {
        self.limit = limit
    }

    /// Makes the handler of a new connection and counts it until it opens or fails.
    ///
    /// - Throws: when too many connections wait already; the connection is then closed.
    func makeHandler(
        _ channel: any Channel, peers: Set<String>, limit duration: Duration, handlers: ControlListener.Handlers
    ) throws -> ControlHandler {
        let id = ObjectIdentifier(channel)
        let added = channels.withLock { channels in
            guard channels.count < limit else { return false }
            channels[id] = channel
            return true
        }
        guard added else {
            let error = LinkError(.closed, "\(limit) connections are in the handshake already, one more was closed")
            handlers.rejected(error, channel.remoteAddress?.ipAddress ?? "unknown")
            throw error
        }
        return ControlHandler(
            role: .accepting, expected: peers, deadline: .now() + TimeAmount(duration),
            opened: { [self] channel in
                remove(id)
                return handlers.accepted(channel)
            },
            failed: { [self] error, address in
                remove(id)
                handlers.rejected(error, address)
            })
    }

    func closeAll() {
        for channel in channels.withLock({ $0.values.map { $0 } }) { channel.close(promise: nil) }
    }

    private func remove(_ id: ObjectIdentifier) {
        channels.withLock { $0[id] = nil }
    }
}
