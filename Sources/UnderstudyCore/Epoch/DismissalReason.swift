// SPDX-License-Identifier: Apache-2.0

/// Why the primary dismisses its backup. Once epoch 1 was allowed it is sent only after a won compare-and-set.
public enum DismissalReason: Sendable, Hashable {
    case unprotected
    case guestEnded
    case cancelled
    /// The primary won the next generation and runs alone.
    case wentSolo
}
