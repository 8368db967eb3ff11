import Glibc
import Testing

@testable import Demonstration

/// Waits up to a generous time for a condition of another process.
func waitFor(seconds: UInt64 = 120, _ condition: () throws -> Bool) throws {
    let deadline = MonotonicTime.now() + seconds * 1_000_000_000
    while try !condition() {
        try #require(MonotonicTime.now() < deadline, "the condition did not come true within \(seconds) s")
        MonotonicTime.sleep(milliseconds: 5)
    }
}

/// Removes a state folder whose labs are gone.
func removeFolder(_ folder: String) throws {
    for name in try LabFiles.names(in: folder) { unlink("\(folder)/\(name)") }
    #expect(rmdir(folder) == 0)
}

/// Whether a TCP connection attempt of a machine gets an answer (a refusal is one).
func answers(to host: LabHost, at address: String) throws -> Bool {
    try host.run { () throws(DemonstrationError) in
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(socket) }
        var to = sockaddr_in()
        to.sin_family = sa_family_t(AF_INET)
        to.sin_port = UInt16(9).bigEndian
        inet_pton(AF_INET, address, &to.sin_addr)
        // SAFETY: sockaddr_in is a socket address of the given length; the pointer does not outlive the call.
        let result = withUnsafePointer(to: &to) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        return result == 0 || errno == ECONNREFUSED
    }
}

/// A TCP connection of a process in one machine to a socket that this test accepted in another.
func connectedPair(from source: LabHost, to target: LabHost, address: String) throws -> (process: LabProcess, socket: Int32) {
    let port: UInt16 = 9000
    let listener = try target.run { () throws(DemonstrationError) in
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var at = sockaddr_in()
        at.sin_family = sa_family_t(AF_INET)
        at.sin_port = port.bigEndian
        // SAFETY: as above.
        let bound = withUnsafePointer(to: &at) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard bound == 0, listen(socket, 1) == 0 else { throw LabSystem.failure(.network, "cannot listen") }
        return socket
    }
    defer { close(listener) }
    let process = try source.spawn(["bash", "-c", "exec 5<>/dev/tcp/\(address)/\(port); exec sleep 1000"], log: "peer.log")
    try #require(ClientSocket.wait(listener, for: POLLIN, milliseconds: 120_000))
    let socket = accept(listener, nil, nil)
    try #require(socket >= 0)
    return (process, socket)
}
