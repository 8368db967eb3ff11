// SPDX-License-Identifier: Apache-2.0

import Glibc
import NIOCore
import NIOPosix

/// The event loop of all control channels of this process: a thread of its own, so that nothing else delays a heartbeat.
enum ControlEventLoop {
    static let group: MultiThreadedEventLoopGroup = {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        // The kernel prefers it to ordinary threads; without the privilege it stays one of them.
        group.next().execute { _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, -15) }
        return group
    }()
}
