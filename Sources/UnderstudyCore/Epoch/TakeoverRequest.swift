// SPDX-License-Identifier: Apache-2.0

/// Why a living primary asks its backup to take over.
public enum TakeoverRequest: Sendable, Hashable {
    case guestFailed(GuestFailure)
    /// On purpose: the guest stands still since the cut of this epoch, which is the last one and was acknowledged.
    case switchover(epoch: UInt64)

    /// True if the old guest still exists and may go on when nobody takes over.
    public var mayRevive: Bool {
        switch self {
        case .guestFailed(let failure): failure.mayRevive
        case .switchover: true
        }
    }
}
