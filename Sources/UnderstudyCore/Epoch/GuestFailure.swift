// SPDX-License-Identifier: Apache-2.0

/// How the primary's guest failed under a living daemon.
public enum GuestFailure: Sendable, Hashable {
    /// QEMU ended without a shutdown of the guest: a crash, SIGKILL.
    case exited
    /// The gated save reached no cut point within the detection time (`ProtocolTiming.establishingCut` before the first commit).
    case noCutPoint
    /// The gated save did not end within the detection time after its pipe was drained.
    case saveDidNotEnd
    /// The images that both hosts see take nothing more from this one.
    case storageFailed

    /// True if QEMU still exists and may come back to life.
    public var mayRevive: Bool { self != .exited }
}
