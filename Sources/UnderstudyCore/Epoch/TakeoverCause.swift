// SPDX-License-Identifier: Apache-2.0

/// Why the backup decided to take over.
public enum TakeoverCause: Sendable, Hashable {
    case primarySilent
    case channelClosed
    case requested(TakeoverRequest)
}
