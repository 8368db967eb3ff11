import Glibc
import LinuxShim

/// A blocking client of one QEMU monitor socket (QMP).
///
/// One thread at a time uses a client; it may be handed from one thread to another. Replies come in the order of the commands.
/// After an error of code `.closed`, `.protocolViolation` or `.systemCall` every later call throws the same error.
///
/// Source: QEMU `docs/interop/qmp-spec`. Out-of-band execution is not used.
public final class QMPClient: @unchecked Sendable {
    // SAFETY: the documented contract is one thread at a time; nothing here is reached from elsewhere.
    private var socket: QMPSocket
    private let socketPath: String
    private var failure: QMPError?
    private var nextID: Int64 = 1
    /// Commands whose caller stopped waiting: their replies are dropped.
    private var abandoned: Set<Int64> = []
    private var keptEvents: [QMPEvent] = []
    private var keptReplies: [QMPReply] = []

    /// The version from the greeting.
    public let version: QMPVersion

    /// Connects, waits for the greeting and leaves negotiation mode.
    ///
    /// Throws `.connectFailed`, `.noGreeting` (QEMU serves one client per socket) or `.protocolViolation`.
    public init(socketPath: String, greetingTimeout: Duration = .seconds(2)) throws(QMPError) {
        self.socketPath = socketPath
        socket = try QMPSocket(path: socketPath)
        guard let line = try socket.line(before: Deadline(after: greetingTimeout)) else {
            throw QMPError(
                .noGreeting,
                "no greeting on \(socketPath) within \(greetingTimeout): another client holds it: "
                    + "add a second -qmp unix:PATH,server=on,wait=off to QEMU and name that socket")
        }
        version = try Self.version(fromGreeting: line, path: socketPath)
        try execute("qmp_capabilities")
    }

    private static func version(fromGreeting line: ArraySlice<UInt8>, path: String) throws(QMPError) -> QMPVersion {
        let greeting = try object(in: line, path: path)["QMP"]?["version"]
        guard let numbers = greeting?["qemu"], let major = numbers["major"]?.int, let minor = numbers["minor"]?.int else {
            throw QMPError(.protocolViolation, "the greeting on \(path) is not QEMU's: is it a QMP socket (not HMP, not a serial line)?")
        }
        return QMPVersion(
            major: major, minor: minor, micro: numbers["micro"]?.int ?? 0, package: greeting?["package"]?.string ?? "")
    }

    /// The socket, for poll(2). Look at `hasBufferedMessage` before waiting on it.
    public var descriptor: CInt { socket.descriptor }

    /// Whether `receive` has something to look at without reading from the socket.
    public var hasBufferedMessage: Bool { !keptReplies.isEmpty || socket.hasLine() }

    /// Sends a command without waiting for its reply. A descriptor that is passed stays open here.
    public func send(_ command: String, arguments: JSONValue? = nil, passing passed: CInt? = nil) throws(QMPError) {
        _ = try sendNumbered(command, arguments: arguments, passing: passed)
    }

    private func sendNumbered(_ command: String, arguments: JSONValue?, passing passed: CInt?) throws(QMPError) -> Int64 {
        try checkAlive()
        let id = nextID
        nextID += 1
        var request: [String: JSONValue] = ["execute": .string(command), "id": .int(id)]
        if let arguments { request["arguments"] = arguments }
        do {
            try socket.send(JSONValue.object(request).serialized() + [UInt8(ascii: "\n")], passing: passed)
        } catch {
            // Half a command may be on its way: this connection cannot be used any more.
            throw fail(error)
        }
        return id
    }

    /// The next event or reply; nil when `timeout` passes first (nil timeout: wait for ever; `.zero`: only look).
    public func receive(timeout: Duration?) throws(QMPError) -> QMPMessage? {
        if !keptReplies.isEmpty { return .reply(keptReplies.removeFirst()) }
        return try receiveNumbered(before: Deadline(after: timeout))?.message
    }

    private func receiveNumbered(before deadline: Deadline) throws(QMPError) -> (message: QMPMessage, id: Int64?)? {
        try checkAlive()
        do {
            while let line = try socket.line(before: deadline) {
                let (message, id) = try Self.interpret(try Self.object(in: line, path: socketPath), path: socketPath)
                if case .reply = message, let id, abandoned.remove(id) != nil { continue }
                return (message, id)
            }
            return nil
        } catch {
            throw fail(error)
        }
    }

    /// Sends a command and waits for its reply. Events that come meanwhile are kept for `takeEvents`, replies to earlier commands for `receive`.
    ///
    /// Throws `.commandFailed` with QEMU's error class, or `.timeout` (the command may still take effect; its late reply is dropped).
    @discardableResult
    public func execute(
        _ command: String, arguments: JSONValue? = nil, passing passed: CInt? = nil, timeout: Duration = .seconds(10)
    ) throws(QMPError) -> JSONValue {
        let id = try sendNumbered(command, arguments: arguments, passing: passed)
        let deadline = Deadline(after: timeout)
        while let (message, answered) = try receiveNumbered(before: deadline) {
            switch message {
            case .event(let event): keptEvents.append(event)
            case .reply(let reply) where answered != id && answered != nil: keptReplies.append(reply)
            case .reply(.success(let value)): return value
            case .reply(.failure(let errorClass, let description)):
                throw QMPError(.commandFailed, "QEMU refused \(command): \(description)", errorClass: errorClass)
            }
        }
        abandoned.insert(id)
        throw QMPError(.timeout, "QEMU did not answer \(command) within \(timeout): it hangs, is stopped, or the host is overloaded")
    }

    /// Runs a line of the human monitor and returns its output, with `\n` line ends.
    public func humanMonitor(_ line: String, timeout: Duration = .seconds(10)) throws(QMPError) -> String {
        let output = try execute("human-monitor-command", arguments: ["command-line": .string(line)], timeout: timeout)
        guard let text = output.string else {
            throw fail(QMPError(.protocolViolation, "QEMU's human monitor answered something else than a text on \(socketPath)"))
        }
        return String(String.UnicodeScalarView(text.unicodeScalars.filter { $0 != "\r" }))
    }

    /// The events kept by `execute`, oldest first; the list is empty afterwards.
    public func takeEvents() -> [QMPEvent] {
        defer { keptEvents = [] }
        return keptEvents
    }

    /// The process that listens at the other end.
    public func peerCredentials() throws(QMPError) -> QMPPeer {
        var peer = QMPPeer(processID: 0, userID: 0, groupID: 0)
        let result = understudy_peer_credentials(descriptor, &peer.processID, &peer.userID, &peer.groupID)
        guard result == 0 else {
            throw QMPError(.systemCall, "SO_PEERCRED on \(socketPath) failed: \(String(cString: strerror(-result)))")
        }
        return peer
    }

    /// Ends the conversation; every later call throws `.closed`. The descriptor itself lives as long as the client.
    public func close() {
        _ = shutdown(descriptor, Int32(SHUT_RDWR))
        _ = fail(QMPError(.closed, "the connection to \(socketPath) was closed by this process"))
    }

    private func checkAlive() throws(QMPError) {
        if let failure { throw failure }
    }

    /// Remembers a failure after which the connection is of no use.
    private func fail(_ error: QMPError) -> QMPError {
        if failure == nil { failure = error }
        return error
    }

    private static func object(in line: ArraySlice<UInt8>, path: String) throws(QMPError) -> [String: JSONValue] {
        let value: JSONValue
        do {
            value = try JSONValue(parsing: line)
        } catch {
            throw QMPError(.protocolViolation, "\(path) sent a line that is not JSON (\(error)): is it a QMP socket?", cause: error)
        }
        guard let object = value.object else {
            throw QMPError(.protocolViolation, "\(path) sent JSON that is not an object: is it a QMP socket?")
        }
        return object
    }

    private static func interpret(_ object: [String: JSONValue], path: String) throws(QMPError) -> (QMPMessage, Int64?) {
        let id = object["id"]?.int.map(Int64.init)
        if let name = object["event"]?.string {
            return (.event(QMPEvent(name: name, data: object["data"] ?? [:], timestampMicroseconds: timestamp(object["timestamp"]))), nil)
        }
        if let value = object["return"] { return (.reply(.success(value)), id) }
        if let error = object["error"]?.object {
            let description = error["desc"]?.string ?? "no description"
            return (.reply(.failure(errorClass: error["class"]?.string ?? "GenericError", description: description)), id)
        }
        throw QMPError(.protocolViolation, "\(path) sent an object that is neither an event nor a reply: is it a QMP socket?")
    }

    private static func timestamp(_ value: JSONValue?) -> Int64? {
        guard let seconds = value?["seconds"]?.int, let microseconds = value?["microseconds"]?.int, seconds >= 0 else { return nil }
        let (product, overflow) = Int64(seconds).multipliedReportingOverflow(by: 1_000_000)
        let (sum, overflowed) = product.addingReportingOverflow(Int64(microseconds))
        return overflow || overflowed ? nil : sum
    }
}
