// SPDX-License-Identifier: Apache-2.0

/// How the guest ended on purpose; nothing takes over.
public enum GuestEnd: Sendable, Hashable {
    case shutdown
    case quit
}
