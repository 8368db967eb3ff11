internal import HostAPI
internal import Links
internal import UnderstudyCore

/// What a host that checks the pair asks of its peer, as the first message of a control channel.
struct Survey: Codable, Sendable {
    /// `ControlMessage.version` of the asking host.
    var version: Int
    var host: String
    /// The asking host's clock, seconds since 1970.
    var time: Double
    /// Both hosts open this checkpoint stream to each other, once each; hexadecimal.
    var session: String
    var sessionKey: String
    /// A record that the asking host left at its arbiter, and where; nil when it could not.
    var scratchKey: String?
    var scratchRecord: ArbiterRecord?
    /// The program of the machine in question; nil for QEMU's usual one.
    var qemuProgram: String?

    /// The stream's session; nil when the peer named none that can be one.
    var sessionIdentifier: CheckpointSessionID? { CheckpointSessionID(hexadecimal: session) }
}

/// What the peer found.
struct SurveyAnswer: Codable, Sendable {
    var version: Int
    var host: String
    /// The peer's clock when the survey came, seconds since 1970, and how long it then took.
    var time: Double
    var seconds: Double
    /// The peer's own requirements, and whether it reaches the asking host.
    var lines: [CheckReport.Line]
    /// The version of QEMU there; nil when there is none.
    var qemu: String?
    var processor: String
    var availableMemory: UInt64?
    /// Whether the scratch record was found there; nil when there was none to look for.
    var seesScratchRecord: Bool?
    var detectionNanoseconds: UInt64
    var stagingMebibytes: Int
}
