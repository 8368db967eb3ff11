import Glibc
import LinuxShim
import Synchronization

@testable import QMP

/// A peer on a Unix socket that says what a test tells it to.
final class FakeMonitor: @unchecked Sendable {
    // SAFETY: the listening descriptor is set once; the serving thread owns the connection, and deinit joins it first.
    static let greeting =
        #"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}"# + "\r\n"

    let path: String
    private let listener: CInt
    private var thread = pthread_t()
    private let script: (Connection) -> Void

    struct Connection {
        let descriptor: CInt

        func say(_ text: String) { say(Array(text.utf8)) }

        func say(_ bytes: [UInt8]) {
            var sent = 0
            while sent < bytes.count {
                let count = Glibc.send(descriptor, Array(bytes[sent...]), bytes.count - sent, Int32(MSG_NOSIGNAL))
                if count <= 0 { return }
                sent += count
            }
        }

        /// The next request; nil at the end.
        func hear() -> JSONValue? {
            var line: [UInt8] = []
            var byte: UInt8 = 0
            while recv(descriptor, &byte, 1, 0) == 1 {
                if byte == UInt8(ascii: "\n") { return try? JSONValue(parsing: line) }
                line.append(byte)
            }
            return nil
        }

        /// Greets and answers the negotiation.
        func greet() {
            say(FakeMonitor.greeting)
            answer(hear())
        }

        func answer(_ request: JSONValue?, _ value: JSONValue = [:]) {
            say(JSONValue.object(["return": value, "id": request?["id"] ?? nil]).serialized() + [13, 10])
        }
    }

    private let accepted = Accepted()

    init(_ script: @escaping (Connection) -> Void) throws {
        path = "/tmp/understudy-qmp-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        listener = understudy_listen_unix(path, 4)
        self.script = script
        guard listener >= 0 else { throw QMPError(.systemCall, "listen: \(listener)") }
        let context = Unmanaged.passRetained(
            Box { [listener, accepted] in
                let descriptor = accept(listener, nil, nil)
                guard descriptor >= 0 else { return }
                accepted.number.withLock { $0 = descriptor }
                script(Connection(descriptor: descriptor))
                accepted.number.withLock {
                    $0 = nil
                    close(descriptor)
                }
            })
        pthread_create(
            &thread, nil,
            { argument in
                Unmanaged<Box>.fromOpaque(argument!).takeRetainedValue().body()
                return nil
            }, context.toOpaque())
    }

    deinit {
        shutdown(listener, Int32(SHUT_RDWR))
        // A client that lives on must not keep the script, and so this thread, waiting for its next request.
        accepted.number.withLock { if let descriptor = $0 { _ = shutdown(descriptor, Int32(SHUT_RDWR)) } }
        pthread_join(thread, nil)
        close(listener)
        unlink(path)
    }

    /// The connection that the script serves.
    private final class Accepted: Sendable {
        let number = Mutex<Int32?>(nil)
    }

    private final class Box {
        let body: () -> Void
        init(_ body: @escaping () -> Void) { self.body = body }
    }
}
