/// The table `fencing` of the configuration: how this host makes sure that a peer can write nothing more, before it takes a shared disk.
public struct FencingConfiguration: Codable, Sendable, Equatable {
    /// A fence agent's program (`fence_ipmilan`, ...), which takes `key=value` lines on its standard input.
    public var agent: String
    /// How long one call of the agent may take, in seconds.
    public var timeoutSeconds: Double
    /// How long the agent is not asked yet, since the peer's own daemon may say that it writes no more, in seconds.
    public var graceSeconds: Double
    /// What the agent is told for each peer, besides `action`; a peer that is missing cannot be fenced.
    public var hosts: [String: [String: String]]

    private enum CodingKeys: String, CodingKey, CaseIterable { case agent, timeoutSeconds = "timeout-s", graceSeconds = "grace-s", hosts }

    static let keys = CodingKeys.allCases.map(\.rawValue)

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        agent = try values.decode(String.self, forKey: .agent)
        timeoutSeconds = try values.number(forKey: .timeoutSeconds) ?? 60
        graceSeconds = try values.number(forKey: .graceSeconds) ?? 1
        hosts = try values.decodeIfPresent([String: [String: String]].self, forKey: .hosts) ?? [:]
    }

    func validate(_ demand: (Bool, String) throws(HostDaemonError) -> Void) throws(HostDaemonError) {
        try demand(agent.hasPrefix("/"), "`fencing.agent` must be the absolute path of a program")
        try demand((1...3_600).contains(timeoutSeconds), "`fencing.timeout-s` must lie between 1 and 3600")
        try demand((0...60).contains(graceSeconds), "`fencing.grace-s` must lie between 0 and 60")
        let words = hosts.values.flatMap { $0.map { "\($0.key)=\($0.value)" } }
        try demand(words.allSatisfy { !$0.contains("\n") }, "a value of `fencing.hosts` has a line break")
        try demand(hosts.values.allSatisfy { $0["action"] == nil }, "`fencing.hosts` must not set `action`")
    }
}
