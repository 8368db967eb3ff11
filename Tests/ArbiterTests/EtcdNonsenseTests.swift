// SPDX-License-Identifier: Apache-2.0

import Arbiter
import Testing
import UnderstudyCore

struct EtcdNonsenseTests {
    static let header = #""header":{"cluster_id":"1","revision":"2"}"#
    static let bodies = [
        "", "{}", "null", "[]", "\"x\"", "{\(header)", #"{"succeeded":true}"#, "{\(header),\"succeeded\":true}",
        "{\(header),\"succeeded\":true,\"responses\":[]}", "{\(header),\"succeeded\":\"yes\",\"responses\":[{}]}",
        "{\(header),\"responses\":[{\"response_put\":{}}]}",
        "{\(header),\"succeeded\":true,\"responses\":[{\"response_range\":{}}]}",
        "{\(header),\"responses\":[{\"response_range\":{\"kvs\":[{\"key\":\"eA==\",\"value\":\"e30=\"}]}}]}",
        "{\(header),\"responses\":[{\"response_range\":{\"kvs\":[{\"key\":\"dm0=\",\"value\":\"e30=\"}]}}]}",
        "{\(header),\"responses\":[{\"response_range\":{\"kvs\":[{\"key\":\"dm0=\",\"value\":\"!!\"}]}}]}",
        "{\(header),\"kvs\":[{\"key\":\"dm0=\",\"value\":\"e30=\"}]}", String(repeating: "[", count: 100_000),
        String(repeating: " ", count: 400_000),
    ]

    private func expectNothingKnown(_ server: CannedServer, _ what: String) throws {
        let arbiter = try EtcdArbiter.patient([server.endpoint])
        let answer = arbiter.compareAndSet(key: "vm", proposal: .create(owner: "a", nonce: "n"), timeout: ArbiterContract.patience)
        if case .unknown(let reason) = answer { #expect(!reason.isEmpty) } else { Issue.record("\(answer) from \(what.prefix(80))") }
    }

    @Test(arguments: bodies) func `a server that answers nonsense decides nothing`(_ body: String) throws {
        try expectNothingKnown(CannedServer(body: body), body)
    }

    @Test(arguments: [
        "", "\r\n\r\n", "HTTP/1.0\r\n\r\n", "HTTP/1.0 abc\r\n\r\n", "HTTP/1.0 500 x\r\n\r\n{}", "SSH-2.0-OpenSSH_9\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 500\r\n\r\n{}", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n", "\u{0}\u{1}\u{2}",
    ])
    func `a server that speaks no HTTP decides nothing`(_ answer: String) throws {
        try expectNothingKnown(CannedServer(Array(answer.utf8)), answer)
        try expectNothingKnown(CannedServer(Array(answer.utf8) + [0xFF, 0xFE, 13, 10, 13, 10]), answer)
    }

    @Test func `random bytes decide nothing`() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<50 {
            let bytes = (0..<Int.random(in: 0...300, using: &generator)).map { _ in UInt8.random(in: 0...255, using: &generator) }
            try expectNothingKnown(CannedServer(Array("HTTP/1.0 200 OK\r\n\r\n".utf8) + bytes), "\(bytes)")
        }
    }

    @Test func `an empty range is not an absent record`() throws {
        let server = try CannedServer(body: "{}")
        let arbiter = try EtcdArbiter.patient([server.endpoint])
        #expect(throws: ArbiterError.self) { try arbiter.read(key: "vm") }
        let honest = try CannedServer(body: "{\(Self.header)}")
        #expect(try EtcdArbiter.patient([honest.endpoint]).read(key: "vm") == nil)
    }

    @Test func `a silent server costs no more than its share of the time`() throws {
        let silent = try CannedServer([], silent: true)
        let honest = try CannedServer(body: "{\(Self.header)}")
        let arbiter = try EtcdArbiter.patient([silent.endpoint, honest.endpoint], 10_000_000_000)
        #expect(try arbiter.read(key: "vm") == nil)
    }

    @Test(arguments: [
        "https://x", "ftp://x:1", "http://x", "http://:1", "http://x:0", "http://x:99999", "x:1", "http://a b:1", "http://x:1/y",
        "http://1::2:3",
    ])
    func `an endpoint in another form is refused`(_ endpoint: String) {
        #expect(throws: ArbiterError.self) { try EtcdArbiter(endpoints: [endpoint]) }
    }
}
