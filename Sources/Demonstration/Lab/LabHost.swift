internal import Glibc

/// One machine of the laboratory: a network namespace in which processes are started.
public struct LabHost: Sendable {
    /// `host1`, `host2`, `client` or `arbiter`.
    public let name: String
    /// The network namespace, as `ip netns` names it.
    public let namespace: String
    /// The lab's folder for this machine (logs, sockets, state), made by the lab.
    public let folder: String

    /// Starts a program in this machine's network namespace, in a session of its own, with default signal dispositions.
    ///
    /// `ip netns exec` replaces itself by the program, so the returned process identifier is the program's own, and `/sys` shows
    /// this machine's network devices. Descriptors of the demo are not inherited.
    /// - Parameters:
    ///   - arguments: the program (found in PATH) and its arguments.
    ///   - environment: added to the demo's own environment.
    ///   - log: file name in `folder`; standard output and error are appended to it. Standard input is `/dev/null`.
    /// - Throws: `.process` when the program cannot be started.
    public func spawn(
        _ arguments: [String], environment: [String: String] = [:], log: String
    ) throws(DemonstrationError) -> LabProcess {
        var marked = environment
        marked[LabGuard.mark] = namespace
        return try LabProcess.start(
            ["ip", "netns", "exec", namespace] + arguments, environment: marked, log: "\(folder)/\(log)", name: arguments.first ?? "")
    }

    /// Runs `body` on a thread that is in this machine's network namespace: sockets that it opens stay in that namespace for good.
    public func run<Result: Sendable>(
        _ body: @Sendable () throws(DemonstrationError) -> Result
    ) throws(DemonstrationError) -> Result {
        try NetworkNamespace.run(in: namespace, body)
    }

    /// The processes that live in this machine's network namespace, zombies not counted.
    public var processes: [Int32] {
        var place = stat()
        guard stat("/run/netns/\(namespace)", &place) == 0, let names = try? LabFiles.names(in: "/proc") else { return [] }
        return names.compactMap { Int32($0) }.filter { pid in
            var own = stat()
            // A process that ends meanwhile, or a zombie, has no namespace any more.
            return stat("/proc/\(pid)/ns/net", &own) == 0 && own.st_ino == place.st_ino && own.st_dev == place.st_dev
        }
    }
}
