internal import Glibc
public import Logging

/// Writes the log to systemd's journal with fields of its own (`UNDERSTUDY_MACHINE=`, `UNDERSTUDY_EVENT=` and one for each further key).
public struct JournalLogHandler: LogHandler {
    public static let socketPath = "/run/systemd/journal/socket"

    public var metadata: Logger.Metadata = [:]
    public var logLevel: Logger.Level = .info
    private let identifier: String
    private let socketPath: String
    private let fallback: @Sendable (String) -> Void

    /// - Parameters:
    ///   - identifier: `SYSLOG_IDENTIFIER`.
    ///   - fallback: gets a line with a priority prefix (sd-daemon(3)) when the journal does not take an entry.
    public init(
        identifier: String, socketPath: String = JournalLogHandler.socketPath, fallback: @escaping @Sendable (String) -> Void
    ) {
        self.identifier = identifier
        self.socketPath = socketPath
        self.fallback = fallback
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        let fields = metadata.merging(event.metadata ?? [:]) { $1 }
        var entry = JournalEntry()
        entry.add("MESSAGE", "\(event.message)")
        entry.add("PRIORITY", "\(Self.priority(of: event.level))")
        entry.add("SYSLOG_IDENTIFIER", identifier)
        for (key, value) in fields.sorted(by: { $0.key < $1.key }) { entry.add("UNDERSTUDY_\(key)", "\(value)") }
        if DatagramSocket.send(entry.bytes, to: socketPath) { return }
        let words = fields.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
        fallback("<\(Self.priority(of: event.level))>\("\(event.message)".replacing("\n", with: " ")) \(words)")
    }

    /// The priority of syslog(3).
    static func priority(of level: Logger.Level) -> Int {
        switch level {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }

    /// Whether this process's standard error goes to the journal: `JOURNAL_STREAM` names the descriptor's device and inode (systemd.exec(5)).
    public static func isConnected(environment: [String: String], descriptor: Int32 = 2) -> Bool {
        guard let stream = environment["JOURNAL_STREAM"] else { return false }
        let parts = stream.split(separator: ":").compactMap { UInt64($0) }
        var status = stat()
        guard parts.count == 2, fstat(descriptor, &status) == 0 else { return false }
        return UInt64(status.st_dev) == parts[0] && UInt64(status.st_ino) == parts[1]
    }
}
