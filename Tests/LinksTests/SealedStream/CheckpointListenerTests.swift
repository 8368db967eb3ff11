// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing
import UnderstudyCore

@testable import Links

@Suite(.serialized) struct CheckpointListenerTests {
    @Test func `a stream is handed over with the primary's hello and carries messages both ways`() throws {
        let bench = try ListenerBench()
        let primary = try bench.connect()
        try primary.send(ListenerBench.hello, deadline: .soon())
        // Sent with the hello, read by whoever owns the stream.
        try primary.send(.acknowledgement(ListenerBench.base), deadline: .soon())
        let (backup, hello) = try #require(bench.accepted.take())
        #expect(hello == .init(role: .primary, base: ListenerBench.base))
        #expect(backup.session == bench.session)
        #expect(try backup.receive(deadline: .soon()) == .acknowledgement(ListenerBench.base))
        let answer = WireMessage.hello(.init(role: .backup, base: ListenerBench.base))
        try backup.send(answer, deadline: .soon())
        #expect(try primary.receive(deadline: .soon()) == answer)
        #expect(try primary.receiveAvailable() == nil)
        #expect(throws: LinkError.self) { try primary.receive(deadline: .now) }
        primary.shutdown()
        #expect { _ = try backup.receive(deadline: .soon()) } throws: { ($0 as? LinkError)?.code == .closed }
    }

    @Test func `an unknown session is closed and the listener lives on`() throws {
        let bench = try ListenerBench()
        #expect { try bench.connect(session: try .random()) } throws: { ($0 as? LinkError)?.code == .closed }
        #expect(bench.rejected.take()?.code == .authenticationFailed)
        _ = try bench.pair()
    }

    @Test func `a hello under another key is never accepted`() throws {
        let bench = try ListenerBench()
        let stranger = try bench.connect(key: try .random())
        try stranger.send(ListenerBench.hello, deadline: .soon())
        #expect(bench.rejected.take()?.code == .authenticationFailed)
        #expect(bench.accepted.isEmpty)
        #expect(throws: LinkError.self) { try stranger.receive(deadline: .soon()) }
    }

    @Test func `a backup's answer under another key is never believed`() throws {
        let bench = try ListenerBench()
        let primary = try bench.connect()
        let bytes = try RecordBench().seal([WireMessage.acknowledgement(ListenerBench.base).encoded]).flatMap { $0 }
        // The forger sits on the backup's end: its bytes come from the right address and port.
        try primary.send(ListenerBench.hello, deadline: .soon())
        let (backup, _) = try #require(bench.accepted.take())
        _ = bytes.withUnsafeBytes { Glibc.send(backup.descriptor, $0.baseAddress, $0.count, 0) }
        #expect { _ = try primary.receive(deadline: .soon()) } throws: { ($0 as? LinkError)?.code == .authenticationFailed }
        #expect { try primary.send(ListenerBench.hello, deadline: .soon()) } throws: { ($0 as? LinkError)?.code == .authenticationFailed }
    }

    @Test func `a recorded connection cannot be played again`() throws {
        let bench = try ListenerBench()
        // A man in the middle forwards and records what the primary sends.
        let middle = try TCPSocket.listen(host: "127.0.0.1", port: 0, backlog: 1)
        let middleSocket = StreamSocket(descriptor: middle)
        let port = try #require(SocketAddress.describe(middle, peer: false)).port
        let connected = Inbox<Result<SealedStream, LinkError>>()
        let (session, key) = (bench.session, bench.key)
        let connecting = try DedicatedThread(name: "test-connect") {
            do throws(LinkError) {
                connected.put(
                    .success(try SealedStream.connect(host: "127.0.0.1", port: port, session: session, key: key, deadline: .soon())))
            } catch { connected.put(.failure(error)) }
        }
        try middleSocket.wait(for: Int32(POLLIN), until: .soon())
        let near = StreamSocket(descriptor: accept(middle, nil, nil))
        let far = try bench.plainSocket()
        var recording = try near.receiveExactly(Preface.length)
        try far.sendAll(recording)
        try near.sendAll(try far.receiveExactly(Preface.length))
        let primary = try #require(connected.take()).get()
        connecting.join()
        try primary.send(ListenerBench.hello, deadline: .soon())
        let record = try near.receiveExactly(20 + 40)
        recording += record
        try far.sendAll(record)
        #expect(bench.accepted.take() != nil, "control: what was recorded is a good connection")

        let replay = try bench.plainSocket()
        try replay.sendAll(recording)
        #expect(bench.rejected.take()?.code == .authenticationFailed)
        #expect(bench.accepted.isEmpty)
    }

    @Test func `a changed preface makes the hello fail`() throws {
        let bench = try ListenerBench()
        let socket = try bench.plainSocket()
        let preface = try Preface(session: bench.session)
        var bytes = preface.encoded
        bytes[40] ^= 1
        try socket.sendAll(bytes)
        let answer = try Preface(decoding: try socket.receiveExactly(Preface.length))
        let keys = try StreamKeys(session: bench.key, primary: preface, backup: answer)
        let stream = try SealedStream(
            socket: socket, keys: keys, session: bench.session, role: .primary, peerAddress: "", options: StreamOptions())
        try stream.send(ListenerBench.hello, deadline: .soon())
        #expect(bench.rejected.take()?.code == .authenticationFailed)
    }

    @Test(arguments: [
        Array("GET / HTTP/1.1\r\nHost: backup.example.org\r\nAccept: */*\r\nConnection: close\r\n\r\n".utf8),
        Array("UNDRSTDY".utf8) + [2, 0, 0, 0] + Array(repeating: 0, count: 52),
        Array("UNDRSTDY".utf8) + [1, 0, 0, 0, 1] + Array(repeating: 0, count: 51),
    ])
    func `a preface of another protocol or version is refused`(bytes: [UInt8]) throws {
        let bench = try ListenerBench()
        let socket = try bench.plainSocket()
        try socket.sendAll(bytes)
        #expect(bench.rejected.take()?.code == .protocolViolation)
        _ = try bench.pair()
    }

    @Test func `random bytes do not stop the listener, with or without a good preface before them`() throws {
        let bench = try ListenerBench()
        for round in 0..<60 {
            let socket = try bench.plainSocket()
            let garbage = (0..<Int.random(in: 64...4_000)).map { _ in UInt8.random(in: .min ... .max) }
            // Length fields that are too large, too small, and of a record that fails.
            let length: [UInt8] = [[0xff, 0xff, 0xff, 0xff], [3, 0, 0, 0], [40, 0, 0, 0]][round % 3]
            try socket.sendAll(round < 30 ? garbage : try Preface(session: bench.session).encoded + length + garbage)
            let code = try #require(bench.rejected.take()).code
            #expect([.protocolViolation, .authenticationFailed, .tooLarge, .closed].contains(code))
        }
        #expect(bench.accepted.isEmpty)
        _ = try bench.pair()
    }

    @Test func `a first message that is no primary's hello is refused`() throws {
        let bench = try ListenerBench()
        for message in [WireMessage.acknowledgement(ListenerBench.base), .hello(.init(role: .backup, base: ListenerBench.base))] {
            let stream = try bench.connect()
            try stream.send(message, deadline: .soon())
            #expect(bench.rejected.take()?.code == .protocolViolation)
        }
        let stream = try bench.connect()
        try stream.writer.write(Array(repeating: 3, count: 60_000))
        try stream.writer.flush(deadline: .soon())
        #expect(bench.rejected.take()?.code == .protocolViolation)
        #expect(bench.accepted.isEmpty)
    }

    @Test func `slow and silent connections are closed after the limit and keep nobody out for longer`() throws {
        let bench = try ListenerBench(greetingLimit: .seconds(6), maximumWaiting: 4)
        let preface = try Preface(session: bench.session).encoded
        // More than may wait at a time: silent ones, ones that stop in the preface, ones that stop after it.
        let idle = try (0..<10).map { index in
            let socket = try bench.plainSocket()
            try socket.sendAll(Array(preface[..<[0, 1, 63, 64][index % 4]]))
            return socket
        }
        let stream = try bench.connect()
        try stream.send(ListenerBench.hello, deadline: .soon())
        #expect(bench.accepted.take() != nil)
        for _ in idle { #expect(bench.rejected.take()?.code == .timedOut) }
        withExtendedLifetime(idle) {}
    }

    @Test func `a stopped listener closes what waits, and an accepted stream lives on`() throws {
        let bench = try ListenerBench()
        let (primary, backup) = try bench.pair()
        let waiting = try bench.plainSocket()
        try waiting.sendAll([0])
        bench.listener.stop()
        #expect { try waiting.receiveExactly(1) } throws: { ($0 as? LinkError)?.code == .closed }
        try primary.send(.acknowledgement(ListenerBench.base), deadline: .soon())
        #expect(try backup.receive(deadline: .soon()) == .acknowledgement(ListenerBench.base))
        #expect(throws: LinkError.self) { try bench.plainSocket() }
    }

    @Test func `nobody listening and a name that does not exist are clear errors`() throws {
        let bench = try ListenerBench()
        bench.listener.stop()
        #expect { try bench.connect() } throws: { ($0 as? LinkError)?.code == .connectFailed }
        #expect {
            try CheckpointListener(
                host: "192.0.2.1", port: 0, handlers: .init(key: { _ in nil }, accepted: { _, _ in }))
        } throws: { ($0 as? LinkError)?.code == .configuration }
    }
}
