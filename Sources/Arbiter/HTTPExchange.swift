// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc

/// One HTTP/1.0 request over a connection of its own: the answer ends with the connection, so there is no framing to get wrong.
struct HTTPExchange: ~Copyable {
    static let responseLimit = 256 * 1024

    private let descriptor: Int32
    private let endpoint: HTTPEndpoint
    private let deadline: Deadline
    /// Nil for plain HTTP.
    private let tls: TLSConnection?

    /// Connects; throws `unreachable` or `timedOut`. Nothing has been asked when it throws.
    init(to endpoint: HTTPEndpoint, connectTimeout: UInt64, deadline: Deadline, security: EtcdSecurity) throws(ArbiterError) {
        self.endpoint = endpoint
        self.deadline = deadline
        (descriptor, tls) = try Self.open(endpoint, connectTimeout: connectTimeout, deadline: deadline, security: security)
    }

    deinit { close(descriptor) }

    /// Posts a JSON body and returns the answer's body; throws if the status is not 200.
    ///
    /// - Parameter token: what etcd gave for the user's password.
    func post(_ path: String, body: Data, token: String? = nil) throws(ArbiterError) -> Data {
        let authorization = token.map { "Authorization: \($0)\r\n" } ?? ""
        let head =
            "POST \(path) HTTP/1.0\r\nHost: \(endpoint.authority)\r\nContent-Type: application/json\r\n\(authorization)Content-Length: \(body.count)\r\n\r\n"
        try send(Data(head.utf8) + body)
        return try parse(receive())
    }

    // MARK: Socket

    private static func connect(to endpoint: HTTPEndpoint, deadline: Deadline) throws(ArbiterError) -> Int32 {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        let failure = getaddrinfo(endpoint.host, String(endpoint.port), &hints, &list)
        guard failure == 0, let first = list else {
            throw ArbiterError(
                .unreachable, "The arbiter's name \(endpoint.host) has no address; use an IP address or fix the name service.")
        }
        defer { freeaddrinfo(list) }
        var cause = ArbiterError(.unreachable, "The arbiter \(endpoint.authority) cannot be reached.")
        var candidate: UnsafeMutablePointer<addrinfo>? = first
        while let address = candidate?.pointee {
            do { return try connect(to: address, of: endpoint, deadline: deadline) } catch { cause = error }
            candidate = address.ai_next
        }
        throw cause
    }

    private static func connect(to address: addrinfo, of endpoint: HTTPEndpoint, deadline: Deadline) throws(ArbiterError) -> Int32 {
        let flags = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(address.ai_family, flags, 0)
        guard descriptor >= 0 else { throw inputOutput("socket", errno) }
        if Glibc.connect(descriptor, address.ai_addr, address.ai_addrlen) == 0 { return descriptor }
        var failure = errno
        if failure == EINPROGRESS {
            do { try wait(descriptor, for: Int16(POLLOUT), deadline: deadline, endpoint: endpoint) } catch {
                close(descriptor)
                throw error
            }
            var length = socklen_t(MemoryLayout<Int32>.size)
            if getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &length) != 0 { failure = errno }
            if failure == 0 { return descriptor }
        }
        close(descriptor)
        let reason = String(cString: strerror(failure))
        throw ArbiterError(
            .unreachable, "The arbiter \(endpoint.authority) cannot be reached (\(reason)); check that it runs and the network.")
    }

    private static func open(
        _ endpoint: HTTPEndpoint, connectTimeout: UInt64, deadline: Deadline, security: EtcdSecurity
    ) throws(ArbiterError) -> (Int32, TLSConnection?) {
        let descriptor = try connect(to: endpoint, deadline: deadline.limited(to: connectTimeout))
        guard endpoint.isSecure else { return (descriptor, nil) }
        do { return (descriptor, try shakeHands(descriptor, endpoint, deadline, security)) } catch {
            close(descriptor)
            throw error
        }
    }

    private static func shakeHands(
        _ descriptor: Int32, _ endpoint: HTTPEndpoint, _ deadline: Deadline, _ security: EtcdSecurity
    ) throws(ArbiterError) -> TLSConnection {
        let tls = try TLSConnection(descriptor: descriptor, endpoint: endpoint, security: security)
        while case .wants(let events) = try tls.handshake() { try wait(descriptor, for: events, deadline: deadline, endpoint: endpoint) }
        return tls
    }

    private static func wait(_ descriptor: Int32, for events: Int16, deadline: Deadline, endpoint: HTTPEndpoint) throws(ArbiterError) {
        while true {
            var poller = pollfd(fd: descriptor, events: events, revents: 0)
            let ready = poll(&poller, 1, deadline.pollTimeout)
            if ready > 0 { return }
            if ready < 0, errno != EINTR { throw inputOutput("poll", errno) }
            if deadline.remaining == 0 {
                throw ArbiterError(.timedOut, "The arbiter \(endpoint.authority) did not answer in time; check its load and the network.")
            }
        }
    }

    private static func inputOutput(_ call: String, _ number: Int32) -> ArbiterError {
        ArbiterError(.inputOutput, "\(call) failed on the way to the arbiter: \(String(cString: strerror(number))).")
    }

    private func send(_ data: Data) throws(ArbiterError) {
        let bytes = [UInt8](data)
        if let tls { return try send(bytes, over: tls) }
        var sent = 0
        while sent < bytes.count {
            try Self.wait(descriptor, for: Int16(POLLOUT), deadline: deadline, endpoint: endpoint)
            // SAFETY: the slice lies within the array, which lives for the whole call.
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.send(descriptor, $0.baseAddress! + sent, $0.count - sent, Int32(MSG_NOSIGNAL))
            }
            if count >= 0 { sent += count } else if errno != EAGAIN, errno != EINTR { throw Self.inputOutput("send", errno) }
        }
    }

    private func send(_ bytes: [UInt8], over tls: TLSConnection) throws(ArbiterError) {
        var sent = 0
        while sent < bytes.count {
            switch try tls.write(bytes[sent...]) {
            case .done(let count): sent += count
            case .wants(let events): try Self.wait(descriptor, for: events, deadline: deadline, endpoint: endpoint)
            case .ended: throw ArbiterError(.unreachable, "The arbiter \(endpoint.authority) ended the connection; look at its log.")
            }
        }
    }

    private func receive(over tls: TLSConnection) throws(ArbiterError) -> [UInt8] {
        var received: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 * 1024)
        while true {
            switch try tls.read(&buffer) {
            case .done(let count): received.append(contentsOf: buffer[..<count])
            case .wants(let events): try Self.wait(descriptor, for: events, deadline: deadline, endpoint: endpoint)
            case .ended: return received
            }
            try demandModest(received)
        }
    }

    private func demandModest(_ received: [UInt8]) throws(ArbiterError) {
        guard received.count > Self.responseLimit else { return }
        throw ArbiterError(.badAnswer, "\(endpoint.authority) answered more than \(Self.responseLimit) bytes; is it an etcd?")
    }

    private func receive() throws(ArbiterError) -> [UInt8] {
        if let tls { return try receive(over: tls) }
        var received: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 * 1024)
        while true {
            try Self.wait(descriptor, for: Int16(POLLIN), deadline: deadline, endpoint: endpoint)
            // SAFETY: recv writes at most `count` bytes into the array, which lives for the whole call.
            let count = unsafe buffer.withUnsafeMutableBytes { unsafe recv(descriptor, $0.baseAddress, $0.count, 0) }
            if count == 0 { return received }
            if count < 0 {
                if errno == EAGAIN || errno == EINTR { continue }
                throw Self.inputOutput("recv", errno)
            }
            received.append(contentsOf: buffer[..<count])
            try demandModest(received)
        }
    }

    // MARK: Answer

    private func parse(_ bytes: [UInt8]) throws(ArbiterError) -> Data {
        let nonsense = ArbiterError(.badAnswer, "\(endpoint.authority) does not answer like an HTTP server; is it an etcd?")
        let separator: [UInt8] = [13, 10, 13, 10]
        guard let end = bytes.firstRange(of: separator), let head = String(validating: bytes[..<end.lowerBound], as: UTF8.self) else {
            throw nonsense
        }
        let lines = head.split(separator: "\r\n", omittingEmptySubsequences: false)
        let status = lines[0].split(separator: " ")
        guard status.count >= 2, status[0].hasPrefix("HTTP/1."), status[1].count == 3, let code = Int(status[1]) else { throw nonsense }
        let body = Data(bytes[end.upperBound...])
        guard code == 200 else {
            let text = String(decoding: body.prefix(300), as: UTF8.self)
            // What the gateway makes of a missing, unknown or outdated token (grpc-gateway's Unauthenticated, and etcd's own words).
            let lacksUser = code == 401 || text.contains("user name is empty") || text.contains("auth token") || text.contains("auth store")
            throw ArbiterError(
                lacksUser ? .unauthenticated : .refused, "\(endpoint.authority) answered with status \(code): \(text)")
        }
        try checkLength(lines.dropFirst(), body: body)
        return body
    }

    private func checkLength(_ lines: ArraySlice<Substring>, body: Data) throws(ArbiterError) {
        for line in lines {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let value = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
            switch line[..<colon].lowercased() {
            case "content-length" where Int(value) != body.count:
                throw ArbiterError(.badAnswer, "\(endpoint.authority) broke off its answer after \(body.count) of \(value) bytes.")
            case "transfer-encoding":
                throw ArbiterError(.badAnswer, "\(endpoint.authority) answered with transfer encoding \(value); it must speak HTTP/1.0.")
            default: break
            }
        }
    }
}
