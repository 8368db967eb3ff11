// SPDX-License-Identifier: Apache-2.0

/// A message of the checkpoint stream that carries no bulk data, decoded.
///
/// Bulk messages (`pages`, `deviceState`) are written by `EpochEncoder` and read in place through `StagedEpoch`.
public enum WireMessage: Equatable, Sendable {
    case hello(Hello)
    case epochBegin(EpochBegin)
    case epochEnd(EpochEnd)
    case acknowledgement(EpochIdentity)
    case refusal(Refusal)

    /// The first message of each side.
    public struct Hello: Equatable, Sendable {
        /// `WireFormat.protocolVersion` of the sender.
        public var protocolVersion: UInt32
        /// What the sender is in this session.
        public var role: Role
        /// The identity from which the epochs of this stream count on.
        public var base: EpochIdentity

        public init(protocolVersion: UInt32 = WireFormat.protocolVersion, role: Role, base: EpochIdentity) {
            self.protocolVersion = protocolVersion
            self.role = role
            self.base = base
        }
    }

    /// Which end of the stream sent a hello.
    public enum Role: UInt32, Sendable {
        case primary = 1
        case backup = 2
    }

    /// What an epoch is for.
    public enum EpochKind: Equatable, Sendable {
        /// A round of the initial synchronisation, copied while the guest runs: pages only, not a consistent state.
        case synchronisation(round: UInt32)
        /// A consistent state for the throwaway standby (and the real one); the output gate is still open.
        case rehearsal
        /// A consistent state at a cut point.
        case checkpoint
    }

    /// The start of an epoch.
    public struct EpochBegin: Equatable, Sendable {
        public var identity: EpochIdentity
        public var kind: EpochKind

        public init(identity: EpochIdentity, kind: EpochKind) {
            self.identity = identity
            self.kind = kind
        }
    }

    /// The end of an epoch: what the receiver must have counted.
    public struct EpochEnd: Equatable, Sendable {
        public var identity: EpochIdentity
        /// Entries of all `pages` messages, zero pages included.
        public var pageCount: UInt64
        /// Entries that are zero pages.
        public var zeroCount: UInt64
        /// Bytes of device state; 0 when the epoch has none.
        public var deviceStateLength: UInt64
        /// Messages of the epoch, `epochBegin` and `epochEnd` included.
        public var recordCount: UInt64

        public init(
            identity: EpochIdentity, pageCount: UInt64, zeroCount: UInt64, deviceStateLength: UInt64, recordCount: UInt64
        ) {
            self.identity = identity
            self.pageCount = pageCount
            self.zeroCount = zeroCount
            self.deviceStateLength = deviceStateLength
            self.recordCount = recordCount
        }
    }

    /// The backup's answer to an epoch that it does not take.
    public struct Refusal: Equatable, Sendable {
        public var identity: EpochIdentity
        /// The reason, from the receiver's own list; 0 is unused.
        public var code: UInt32
        /// What failed, for the operator; cut at 1,024 bytes of UTF-8 when encoded.
        public var message: String

        public init(identity: EpochIdentity, code: UInt32, message: String) {
            self.identity = identity
            self.code = code
            self.message = message
        }
    }
}
