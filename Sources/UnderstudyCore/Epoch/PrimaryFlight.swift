// SPDX-License-Identifier: Apache-2.0

/// The one epoch that is allowed, cut or under way to the backup.
struct PrimaryFlight: Sendable, Hashable {
    enum Stage: Sendable, Hashable {
        case allowed
        case cut
        case handedToLink
    }

    let epoch: UInt64
    var stage: Stage = .allowed
}
