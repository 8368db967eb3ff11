// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Synchronization

/// Collects values from other threads and waits for them.
final class Inbox<Value: Sendable>: Sendable {
    private let values = Mutex<[Value]>([])
    private let arrived = DispatchSemaphore(value: 0)

    func put(_ value: Value) {
        values.withLock { $0.append(value) }
        arrived.signal()
    }

    /// The next value; nil when none came within the time, which is generous since machines are loaded.
    func take(seconds: Double = 60) -> Value? {
        guard arrived.wait(timeout: .now() + seconds) == .success else { return nil }
        return values.withLock { $0.removeFirst() }
    }

    var isEmpty: Bool { values.withLock { $0.isEmpty } }
}

extension ContinuousClock.Instant {
    static func soon(_ duration: Duration = .seconds(60)) -> ContinuousClock.Instant { .now + duration }
}
