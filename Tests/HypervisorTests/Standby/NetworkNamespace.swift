import Glibc
import LinuxShim

@testable import Hypervisor

/// A network namespace of a test's own, which goes with it.
final class NetworkNamespace {
    static let isAvailable = geteuid() == 0 && access("/dev/net/tun", R_OK) == 0 && ip != nil
    private static let ip = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"].first { (path: String) in access(path, X_OK) == 0 }

    private let name: String

    init(_ name: String) throws {
        self.name = "\(name)-\(getpid())"
        try Self.run("netns", "add", self.name)
    }

    deinit { _ = try? Self.run("netns", "del", name) }

    /// Runs `body` on a thread of its own inside; processes that it starts are inside too.
    func run(_ body: @escaping () throws -> Void) throws {
        let job = Job(path: "/run/netns/\(name)", body: body)
        var thread = pthread_t()
        // SAFETY: the retain is balanced by the thread's takeRetainedValue, and the join orders its writes before the read below.
        let result = pthread_create(
            &thread, nil,
            { argument in
                Unmanaged<Job>.fromOpaque(argument!).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(job).toOpaque())
        guard result == 0 else { throw PrimaryMachine.Failure(message: "no thread") }
        pthread_join(thread, nil)
        if let failure = job.failure { throw failure }
    }

    /// The interfaces in the calling thread's namespace.
    static func interfaces() -> [String] {
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let descriptor = open("/proc/thread-self/net/dev", O_RDONLY)
        defer { close(descriptor) }
        let count = read(descriptor, &bytes, bytes.count)
        let text = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        return text.split(separator: "\n").dropFirst(2).compactMap { line in
            line.split(separator: ":").first.map { String($0.drop(while: \.isWhitespace)) }
        }
    }

    private static func run(_ words: String...) throws {
        guard let ip else { throw PrimaryMachine.Failure(message: "no ip program") }
        let child = try ChildProcess(argv: [ip] + words, log: "/dev/null")
        guard child.waitForExit(until: .now + .seconds(120)) == .status(0) else {
            throw PrimaryMachine.Failure(message: "ip \(words.joined(separator: " ")) failed")
        }
    }

    private final class Job {
        let path: String
        let body: () throws -> Void
        var failure: (any Error)?

        init(path: String, body: @escaping () throws -> Void) {
            self.path = path
            self.body = body
        }

        func run() {
            let descriptor = open(path, O_RDONLY | O_CLOEXEC)
            defer { close(descriptor) }
            guard understudy_enter_network_namespace(descriptor) == 0 else {
                failure = PrimaryMachine.Failure(message: "no way into \(path)")
                return
            }
            do { try body() } catch { failure = error }
        }
    }
}
