import Glibc
import LinuxShim
import OutputRelay

/// A network namespace of its own with a bridge, a client behind a veth pair, and a guest's tap that the test itself holds.
///
/// The calling thread moves into the namespace for the duration of `run`, so the body must not suspend. The namespace vanishes with its last
/// user, also when the body throws.
final class TestNetwork {
    static let isPossible = geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0

    static let guestAddress: [UInt8] = [0x52, 0x54, 0, 0x12, 0x34, 0x56]
    static let broadcast = [UInt8](repeating: 0xff, count: 6)

    let guest: TestPort
    let client: TestPort

    static func run(_ body: (TestNetwork) throws -> Void) throws {
        typealias Unshare = @convention(c) (Int32) -> Int32
        typealias SetNamespace = @convention(c) (Int32, Int32) -> Int32
        // SAFETY: both are functions of glibc with exactly these types; its Swift module leaves them out.
        let unshare = unsafeBitCast(dlsym(nil, "unshare"), to: Unshare.self)
        let setNamespace = unsafeBitCast(dlsym(nil, "setns"), to: SetNamespace.self)
        let home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
        try require(home >= 0, "open the network namespace")
        try require(unshare(0x4000_0000) == 0, "unshare the network namespace")
        defer {
            _ = setNamespace(home, 0x4000_0000)
            close(home)
        }
        try body(TestNetwork())
    }

    private init() throws {
        try Self.write("1", to: "/proc/sys/net/ipv6/conf/all/disable_ipv6")
        try Self.write("1", to: "/proc/sys/net/ipv6/conf/default/disable_ipv6")
        try Self.command("ip link add br0 type bridge mcast_snooping 0")
        try Self.command("ip link set br0 up")
        try Self.command("ip link add v0 type veth peer name v1")
        try Self.command("ip link set v0 master br0 up")
        try Self.command("ip link set v1 up")
        guest = try TestPort(tap: "guest")
        try Self.command("ip link set guest master br0 up")
        client = try TestPort(interface: NetworkInterface.named("v1").index)
        for port in ["v0", "guest"] { try Self.awaitForwarding(port) }
    }

    static func awaitForwarding(_ port: String) throws {
        try eventually("\(port) forwards") {
            let interface = try NetworkInterface.named(port)
            return interface.hasCarrier && interface.isForwarding
        }
    }

    static func command(_ line: String) throws { _ = try output(line) }

    /// What a command prints; it runs in this thread's namespace.
    static func output(_ line: String) throws -> String {
        guard let pipe = popen(line + " 2>&1", "r") else { throw TestFailure(what: "cannot run \(line)") }
        var text = ""
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = fread(&buffer, 1, buffer.count, pipe)
            if count == 0 { break }
            text += String(decoding: buffer[..<count], as: UTF8.self)
        }
        let status = pclose(pipe)
        try require(status == 0, "\(line): \(text)")
        return text
    }

    static func eventually(_ what: String, seconds: Double = 60, _ condition: () throws -> Bool) throws {
        for _ in 0..<Int(seconds * 500) {
            if try condition() { return }
            usleep(2000)
        }
        throw TestFailure(what: "never happened: \(what)")
    }

    static func require(_ condition: Bool, _ what: String) throws {
        if !condition { throw TestFailure(what: "\(what) (errno \(errno))") }
    }

    private static func write(_ text: String, to path: String) throws {
        let file = open(path, O_WRONLY)
        try require(file >= 0, "open \(path)")
        defer { close(file) }
        try require(Glibc.write(file, text, text.utf8.count) > 0, "write \(path)")
    }
}

/// Why a test could not go on.
struct TestFailure: Error {
    let what: String
}
