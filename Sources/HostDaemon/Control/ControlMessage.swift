internal import Foundation
internal import Hypervisor
internal import Links
internal import UnderstudyCore

/// What two daemons say to each other on the control channel of one machine: JSON in length-prefixed frames inside mutual TLS.
enum ControlMessage: Codable, Sendable {
    // From the primary to the backup.
    case prepare(Preparation)
    case takeOver(failure: String)
    case prepareSwitchover
    case switchOver(SwitchoverOrder)
    case frames([ForwardedFrame])
    case dismiss(reason: String)
    /// Nothing of this host can reach the images any more that both hosts see.
    case imagesLeft
    // From a host that checks the pair, and its peer's answer; nothing else goes over their channel.
    case survey(Survey)
    case surveyed(SurveyAnswer)
    // From the backup to the primary.
    case prepared(StandbyReport)
    case refused(message: String)
    case rehearsed
    case rehearsalFailed(message: String)
    case standbyLost(reason: String)
    case takeoverDeclined(reason: String)
    case switchoverReady
    case switchoverDeclined(reason: String)
    case winnerRuns(generation: UInt64)
    case handedBack(generation: UInt64)
    // Both ways.
    case heartbeat(Heartbeat)
    case log(message: String)

    /// The version of this protocol; daemons of different versions refuse each other.
    static let version = 6

    func encoded() -> [UInt8] {
        guard let data = try? JSONEncoder().encode(self) else { preconditionFailure("a control message is always representable as JSON") }
        return Array(data)
    }

    /// Decodes a frame of the peer; nil when it is not a message of this version.
    static func decode(_ frame: [UInt8]) -> ControlMessage? {
        try? JSONDecoder().decode(ControlMessage.self, from: Data(frame))
    }
}

extension ControlChannel {
    /// Sends what nobody waits for. A peer that is gone needs no word, and the channel's end is an event of its own for whoever has it.
    func tell(_ message: ControlMessage) { try? send(message.encoded()) }
}

/// Everything that a backup needs to make a standby.
struct Preparation: Codable, Sendable {
    var version: Int
    var name: String
    var primary: String
    var machine: MachineDescription
    /// Bytes that its QEMU holds in memory.
    var residentMemory: UInt64
    /// The bridge that holds each of the guest's taps on the primary host, by the tap's name.
    var bridges: [String: String]
    /// The arbiter's record in which the backup is permitted.
    var record: ArbiterRecord
    /// Names the checkpoint stream; public, hexadecimal.
    var session: String
    /// The key from which both directions' keys are derived; secret, hexadecimal.
    var sessionKey: String
    /// Drawn anew for this session; every message about an epoch carries it.
    var sessionNonce: UInt64
    var detectionNanoseconds: UInt64
    /// What the primary wrote into the arbiter's shared folder; nil with another arbiter.
    var arbiterNonce: String?
    /// The disks to replicate, in the order of their indexes in the disk stream.
    var disks: [DiskPreparation] = []
    /// Names the disk stream; public, hexadecimal; nil without disks.
    var diskSession: String?
    /// The disk stream's key; secret, hexadecimal.
    var diskSessionKey: String?
}

/// A disk whose copy the backup shall keep.
struct DiskPreparation: Codable, Sendable {
    var disk: BlockDevice
    /// The copy's path, when the operator named one.
    var path: String?
    /// The image on which the machine ran on the backup host before: it becomes the copy, where it can be proved that this loses nothing.
    var formerPath: String?
    /// Whether the operator accepts that a file of that path is overwritten.
    var overwrite: Bool
    /// The image that both hosts see and that is not copied; nil for a disk with a copy.
    var shared: SharedImage?
}

/// What the backup made of a preparation.
struct StandbyReport: Codable, Sendable {
    /// How the standby's command line differs, one sentence per rule that applied.
    var rules: [String]
    var warnings: [String]
    var qemu: String
    /// What the backup wrote into the arbiter's shared folder; nil with another arbiter.
    var arbiterNonce: String?
    /// Where the copies of the disks are, in their order.
    var diskPaths: [String] = []
}

/// The primary's word that its guest stands still and the backup shall go on with it.
struct SwitchoverOrder: Codable, Sendable {
    /// The last epoch, which the backup has acknowledged.
    var epoch: UInt64
    /// The length of an epoch with which the machine was protected; 0: it found itself.
    var intervalMilliseconds: Double
    /// Whether the backup shall protect the machine again, by the host that gives it away.
    var protectBack: Bool

    /// The length of an epoch as `protect` would take it: what the peer says, if that can be.
    var interval: Double { (5...10_000).contains(intervalMilliseconds) ? intervalMilliseconds : 0 }
}

/// A sign of life.
struct Heartbeat: Codable, Sendable {
    /// How long ago, in nanoseconds, the sender's session thread last went round.
    var progressAge: UInt64
    /// The silence of its backup that a primary bears now, in nanoseconds; nil from a backup.
    var silenceLimit: UInt64?
    /// What a backup says of itself; nil from a primary.
    var condition: String?
    /// The last epoch that the backup holds.
    var committed: UInt64?
}
