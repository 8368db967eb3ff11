import Glibc
import LinuxShim

@testable import Hypervisor

/// A network namespace with a bridge and a tap in it, removed with the test.
final class TestNetwork {
    let name = "hypervisor-test-\(getpid())"

    init() throws {
        try Self.run("ip", "netns", "add", name)
        try inside("ip", "link", "add", "br0", "type", "bridge")
        try inside("ip", "tuntap", "add", "tap0", "mode", "tap")
        try inside("ip", "link", "set", "tap0", "master", "br0")
    }

    deinit { try? Self.run("ip", "netns", "del", name) }

    var prefix: [String] { ["/usr/bin/env", "ip", "netns", "exec", name] }

    func inside(_ command: String...) throws { try Self.run(["ip", "netns", "exec", name] + command) }

    /// Runs `body` on a thread of its own inside the namespace.
    func enter<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) throws -> Value {
        let path = "/run/netns/\(name)"
        nonisolated(unsafe) var result: Result<Value, any Error>?
        let job = Job {
            result = Result {
                let descriptor = open(path, O_RDONLY | O_CLOEXEC)
                defer { close(descriptor) }
                guard understudy_enter_network_namespace(descriptor) == 0 else { throw TestFailure("setns failed") }
                return try body()
            }
        }
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { argument in
                // SAFETY: retained by the creator for this thread.
                Unmanaged<Job>.fromOpaque(argument!).takeRetainedValue().body()
                return nil
            }, Unmanaged.passRetained(job).toOpaque())
        pthread_join(thread, nil)
        return try result!.get()
    }

    static func run(_ command: String...) throws { try run(command) }

    static func run(_ command: [String]) throws {
        var child: pid_t = 0
        var pointers: [UnsafeMutablePointer<CChar>?] = (["/usr/bin/env"] + command).map { strdup($0) } + [nil]
        defer { pointers.forEach { free($0) } }
        guard posix_spawn(&child, "/usr/bin/env", nil, nil, &pointers, environ) == 0 else { throw TestFailure("cannot run \(command)") }
        var status: CInt = 0
        guard waitpid(child, &status, 0) == child, status == 0 else { throw TestFailure("\(command) failed") }
    }
}

private final class Job {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
}
