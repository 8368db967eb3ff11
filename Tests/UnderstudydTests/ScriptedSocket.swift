import Foundation
import Glibc
import HostAPI
import Synchronization

/// A peer at a Unix socket or at a port of 127.0.0.1 that treats every connection as a test says, each on a thread of its own.
final class ScriptedSocket: Sendable {
    private let listener: CInt
    /// The port of a TCP socket; 0 of a Unix one.
    let port: UInt16

    /// One connection, closed when its script returns.
    struct Connection: Sendable {
        let descriptor: CInt

        func say(_ bytes: [UInt8]) { _ = bytes.withUnsafeBytes { UnixSocket.writeAll(descriptor, $0) } }
        func say(_ text: String) { say(Array(text.utf8)) }

        /// The next line without its end; nil when the peer has closed.
        func line() -> [UInt8]? {
            var line: [UInt8] = []
            var byte: UInt8 = 0
            while recv(descriptor, &byte, 1, 0) == 1 {
                if byte == 0x0a { return line }
                line.append(byte)
            }
            return nil
        }

        /// Says nothing more and waits for the peer to go.
        func hang() { while line() != nil {} }
    }

    init(path: String, _ script: @escaping @Sendable (Connection) -> Void) throws {
        listener = UnixSocket.listen(path: path)
        port = 0
        guard listener >= 0 else { throw DaemonFailure("cannot listen at \(path)") }
        serve(script)
    }

    init(_ script: @escaping @Sendable (Connection) -> Void) throws {
        (listener, port) = try FreePort.listen()
        serve(script)
    }

    private func serve(_ script: @escaping @Sendable (Connection) -> Void) {
        Thread.detachNewThread { [listener] in
            while true {
                let descriptor = accept(listener, nil, nil)
                guard descriptor >= 0 else { return }
                Thread.detachNewThread {
                    script(Connection(descriptor: descriptor))
                    close(descriptor)
                }
            }
        }
    }

    deinit {
        shutdown(listener, CInt(SHUT_RDWR))
        close(listener)
    }
}

/// Ports of 127.0.0.1.
enum FreePort {
    private static let taken = Mutex<Set<UInt16>>([])

    /// A port at which nobody listens now, below those that the kernel gives to outgoing connections and to whoever asks for any
    /// port, and never given out twice.
    static func take() throws -> UInt16 {
        for _ in 0..<1000 {
            guard let (descriptor, port) = try? listen(at: .random(in: 15_000..<32_000)) else { continue }
            close(descriptor)
            if taken.withLock({ $0.insert(port).inserted }) { return port }
        }
        throw DaemonFailure("no free port on 127.0.0.1")
    }

    /// - Parameter wanted: 0: a port that the kernel chooses.
    static func listen(at wanted: UInt16 = 0) throws -> (descriptor: CInt, port: UInt16) {
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        var address = address(port: wanted)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        // SAFETY: the pointers are valid for the calls, which read or write one sockaddr_in.
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                guard bind(descriptor, address, length) == 0, Glibc.listen(descriptor, 64) == 0 else { return CInt(-1) }
                return getsockname(descriptor, address, &length)
            }
        }
        guard result == 0 else {
            close(descriptor)
            throw DaemonFailure("no free port on 127.0.0.1")
        }
        return (descriptor, UInt16(bigEndian: address.sin_port))
    }

    /// Connects to a port of 127.0.0.1; -1 when nobody listens.
    static func connect(_ port: UInt16) -> CInt {
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        var address = address(port: port)
        // SAFETY: the pointer is valid for the call, which reads one sockaddr_in.
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if result == 0 { return descriptor }
        close(descriptor)
        return -1
    }

    private static func address(port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        return address
    }
}
