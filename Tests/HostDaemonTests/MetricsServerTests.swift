import Foundation
import Glibc
import NIOHTTP1
import Testing

@testable import HostDaemon

@Suite struct MetricsServerTests {
    private func serve() throws -> MetricsServer {
        var address = try #require(HostAndPort("127.0.0.1:1"))
        address.port = 0
        return try MetricsServer(address: address) { path in
            switch path {
            case "/livez": .init(status: .ok, body: "[+]daemon ok\n")
            case "/readyz": .init(status: .serviceUnavailable, body: "[-]arbiter silent\n")
            default: nil
            }
        }
    }

    /// Sends the bytes and returns everything that comes back until the server closes.
    private func exchange(_ request: String, port: Int) throws -> String {
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let connected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        try #require(connected == 0)
        let bytes = Array(request.utf8)
        _ = send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL))
        var answer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            guard count > 0 else { return String(decoding: answer, as: UTF8.self) }
            answer += chunk[..<count]
        }
    }

    @Test func `a page comes with its status and the connection ends`() throws {
        let server = try serve()
        let good = try exchange("GET /livez?verbose HTTP/1.1\r\nhost: a\r\n\r\n", port: server.port)
        #expect(good.hasPrefix("HTTP/1.1 200 OK\r\n") && good.hasSuffix("\r\n\r\n[+]daemon ok\n"))
        let bad = try exchange("GET /readyz HTTP/1.0\r\n\r\n", port: server.port)
        #expect(bad.contains(" 503 ") && bad.hasSuffix("[-]arbiter silent\n"))
        let head = try exchange("HEAD /livez HTTP/1.1\r\nhost: a\r\n\r\n", port: server.port)
        #expect(head.contains("content-length: 13") && head.hasSuffix("\r\n\r\n"))
    }

    @Test func `what is no question gets no page, and the server lives on`() throws {
        let server = try serve()
        #expect(try exchange("GET /etc/passwd HTTP/1.1\r\nhost: a\r\n\r\n", port: server.port).contains(" 404 "))
        #expect(try exchange("POST /livez HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", port: server.port).contains(" 405 "))
        for nonsense in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", String(repeating: "x", count: 200_000) + "\r\n\r\n"] {
            _ = try exchange(nonsense, port: server.port)
        }
        #expect(try exchange("GET /livez HTTP/1.1\r\nhost: a\r\n\r\n", port: server.port).contains(" 200 "))
    }

    @Test func `a port that is taken is named`() throws {
        let server = try serve()
        var address = try #require(HostAndPort("127.0.0.1:1"))
        address.port = server.port
        #expect {
            _ = try MetricsServer(address: address) { _ in nil }
        } throws: { "\($0)".contains("metrics.listen") }
    }
}
