public import HostAPI

/// The table `checkpoint` of the configuration: how checkpoints are sent to the backup.
public struct CheckpointSettings: Codable, Sendable, Equatable {
    /// How they are compressed unless `protect --compression` says otherwise.
    public var compression = CompressionMode.auto
    /// MiB of pages as they were sent last, for each protected machine; nil: as much as the guest has.
    public var referenceMebibytes: Int?

    public init() {}

    private enum CodingKeys: String, CodingKey, CaseIterable {
        case compression, referenceMebibytes = "reference-mib"
    }

    static let keys = CodingKeys.allCases.map(\.rawValue)

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        if let word = try values.decodeIfPresent(String.self, forKey: .compression) {
            guard let mode = CompressionMode(rawValue: word) else {
                let known = CompressionMode.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
                throw DecodingError.dataCorruptedError(forKey: .compression, in: values, debugDescription: "must be one of \(known)")
            }
            compression = mode
        }
        referenceMebibytes = try values.decodeIfPresent(Int.self, forKey: .referenceMebibytes)
    }

    func validate(_ demand: (Bool, String) throws(HostDaemonError) -> Void) throws(HostDaemonError) {
        try demand(
            referenceMebibytes.map { (0...16_777_216).contains($0) } ?? true, "`checkpoint.reference-mib` must lie between 0 and 16777216")
    }
}
