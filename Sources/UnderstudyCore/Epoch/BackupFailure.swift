// SPDX-License-Identifier: Apache-2.0

/// Why a backup's session is over without a takeover.
public enum BackupFailure: Sendable, Hashable {
    case primaryLostEarly
    case rehearsalFailed(reason: String)
    case standbyDied(reason: String)
    case protocolViolation(String)
    case lostArbitration
    /// The takeover failed and the guest was given back.
    case handedBack
    /// The guest may have run here and is gone: no copy may continue without the operator.
    case guestLost(reason: String)
}
