// SPDX-License-Identifier: Apache-2.0

import Glibc
import LinuxShim
import Synchronization

/// A thread of its own for work that blocks.
final class DedicatedThread: @unchecked Sendable {
    // SAFETY: the handle is written once before the object is shared, and joined once under `joined`.
    private let handle: pthread_t
    private let joined = Mutex(false)

    /// Starts the thread.
    ///
    /// - Parameter name: shown by ps and debuggers, cut at 15 bytes.
    init(name: String, _ body: @escaping @Sendable () -> Void) throws(LinkError) {
        let box = Unmanaged.passRetained(Body(name: name, run: body))
        var handle = pthread_t()
        let result = pthread_create(
            &handle, nil,
            { argument in
                // SAFETY: the argument is the retained body that was passed below; this takes the retain over.
                let body = Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue()
                understudy_name_thread(String(decoding: body.name.utf8.prefix(15), as: UTF8.self))
                body.run()
                return nil
            }, box.toOpaque())
        guard result == 0 else {
            box.release()
            throw LinkError(.system, "no thread could be started: \(SystemCall.describe(result)); raise the limit of tasks")
        }
        self.handle = handle
    }

    /// Waits until the thread has ended. Called from the thread itself, it does nothing.
    func join() {
        guard pthread_equal(handle, pthread_self()) == 0 else { return }
        joined.withLock { joined in
            guard !joined else { return }
            pthread_join(handle, nil)
            joined = true
        }
    }

    private final class Body: Sendable {
        let name: String
        let run: @Sendable () -> Void

        init(name: String, run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }
}
