// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Testing

@testable import Links

@Suite(.serialized, .enabled(if: TestAuthority.isAvailable, "needs /usr/bin/openssl for its certificates"))
struct ControlChannelTests {
    @Test func `frames arrive whole and in order, both ways, and both ends know each other's names`() throws {
        let bench = try ControlBench()
        let ends = ControlBench.Ends()
        let primary = try bench.connect(ends: ends)
        let backup = try #require(bench.accepted.take())
        #expect(primary.peerName == "backup.example" && backup.peerName == "primary.example")
        let frames: [[UInt8]] = [
            [1], Array(repeating: 2, count: 100_000), Array(repeating: 3, count: ControlChannel.maximumFrameLength), [4],
        ]
        for frame in frames {
            try primary.send(frame)
            try backup.send(frame)
        }
        for frame in frames {
            #expect(bench.atBackup.frames.take() == frame)
            #expect(ends.frames.take() == frame)
        }
        primary.close()
        let reason = try #require(ends.closed.take())
        #expect(reason == nil, "close() was called here")
        let seen = try #require(bench.atBackup.closed.take())
        #expect(seen?.code == .closed)
        #expect { try primary.send([1]) } throws: { ($0 as? LinkError)?.code == .closed }
        #expect(ends.closed.isEmpty && bench.atBackup.closed.isEmpty, "closed is told once")
    }

    @Test func `frames put in line before a close arrive`() throws {
        let bench = try ControlBench()
        let primary = try bench.connect()
        for number in 0..<100 { try primary.send([UInt8(number)]) }
        primary.close()
        for number in 0..<100 { #expect(bench.atBackup.frames.take() == [UInt8(number)]) }
    }

    @Test func `frames of many threads are not mixed`() throws {
        let bench = try ControlBench()
        let primary = try bench.connect()
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
            for _ in 0..<50 {
                do { try primary.send(Array(repeating: UInt8(thread), count: 5_000)) } catch { Issue.record(error) }
            }
        }
        var counts = [0, 0, 0, 0]
        for _ in 0..<200 {
            let frame = try #require(bench.atBackup.frames.take())
            #expect(frame.count == 5_000 && Set(frame).count == 1)
            counts[Int(frame[0])] += 1
        }
        #expect(counts == [50, 50, 50, 50])
    }

    @Test func `a name in the common name counts only without DNS entries`() throws {
        let bench = try ControlBench()
        #expect(bench.connectFailure(try bench.authority.issue(commonName: "Third.Example", names: [])) == nil)
        #expect(bench.accepted.take()?.peerName == "third.example")
        let hidden = try bench.authority.issue(commonName: "third.example", names: ["stranger.example"])
        #expect(bench.connectFailure(hidden) == .closed)
        #expect(bench.rejected.take()?.code == .wrongPeer)
    }

    @Test func `a peer with another name is refused on both ends, and the listener lives on`() throws {
        let bench = try ControlBench()
        #expect(bench.connectFailure(peerName: "third.example") == .wrongPeer)
        let stranger = try bench.authority.issue(commonName: "stranger.example", names: ["*.example", "primary.example.org"])
        #expect(bench.connectFailure(stranger) == .closed)
        #expect(bench.accepted.take() != nil, "the first was the primary's own decision")
        #expect(bench.rejected.take()?.code == .wrongPeer)
        #expect(bench.accepted.isEmpty)
        #expect(bench.connectFailure() == nil)
    }

    @Test func `a certificate of another authority is refused on both ends`() throws {
        let bench = try ControlBench()
        let other = try TestAuthority()
        let forged = try other.issue(commonName: "primary.example", names: ["primary.example"], believing: bench.authority)
        #expect([.tls, .closed].contains(bench.connectFailure(forged)))
        #expect(bench.rejected.take()?.code == .tls)
        var suspicious = bench.primary
        suspicious.authorityFile = other.path("authority.pem")
        #expect(bench.connectFailure(suspicious) == .tls)
        #expect(bench.rejected.take() != nil)
        #expect(bench.accepted.isEmpty)
        #expect(bench.connectFailure() == nil)
    }

    @Test func `an expired certificate and a missing one are refused`() throws {
        let bench = try ControlBench()
        let expired = try bench.authority.issue(commonName: "primary.example", names: ["primary.example"], days: -1)
        #expect([.tls, .closed].contains(bench.connectFailure(expired)))
        #expect(bench.rejected.take()?.code == .tls)
        let channel = try bench.rawTLS(nil)
        #expect(bench.rejected.take()?.code == .tls)
        try channel.closeFuture.wait()
        #expect(bench.accepted.isEmpty)
    }

    @Test func `a renewed certificate is shown from the renewal on, a broken one leaves the old in force, channels live on`() throws {
        let bench = try ControlBench()
        let ends = ControlBench.Ends()
        let standing = try bench.connect(ends: ends)
        let renewed = try bench.authority.issue(commonName: "renewed.example", names: ["renewed.example"])
        for (new, old) in [(renewed.certificateFile, bench.backup.certificateFile), (renewed.keyFile, bench.backup.keyFile)] {
            try Data(contentsOf: URL(fileURLWithPath: new)).write(to: URL(fileURLWithPath: old))
        }
        #expect(bench.connectFailure(peerName: "renewed.example") == .wrongPeer, "control: not yet renewed")
        try bench.listener.renew()
        #expect(bench.connectFailure(peerName: "renewed.example") == nil)
        #expect(bench.connectFailure(peerName: "backup.example") == .wrongPeer)
        try Data("nonsense".utf8).write(to: URL(fileURLWithPath: bench.backup.certificateFile))
        #expect(throws: LinkError.self) { try bench.listener.renew() }
        #expect(bench.connectFailure(peerName: "renewed.example") == nil)
        try standing.send([7])
        #expect(bench.atBackup.frames.take() == [7])
    }

    @Test func `TLS 1.2 is refused`() throws {
        let bench = try ControlBench()
        let channel = try bench.rawTLS(bench.primary, maximum: .tlsv12)
        #expect(bench.rejected.take()?.code == .tls)
        try channel.closeFuture.wait()
        _ = try bench.rawTLS(bench.primary)
        #expect(bench.accepted.take() != nil, "control: the same client with TLS 1.3")
    }

    @Test func `a peer that does not speak TLS is refused, one that says nothing is given up`() throws {
        let bench = try ControlBench(handshakeLimit: .seconds(6), maximumWaiting: 4)
        let talking = try TCPSocket.connect(
            host: "127.0.0.1", port: bench.listener.port, options: StreamOptions(), deadline: .soon())
        try talking.sendAll(Array("{\"hello\": true, \"padding\": \"0123456789012345678901234567890123456789\"}".utf8))
        #expect(bench.rejected.take()?.code == .tls)
        let silent = try (0..<6).map { _ in
            try TCPSocket.connect(host: "127.0.0.1", port: bench.listener.port, options: StreamOptions(), deadline: .soon())
        }
        let codes = try silent.map { _ in try #require(bench.rejected.take()).code }
        #expect(codes.filter { $0 == .timedOut }.count >= 4)
        #expect(bench.connectFailure() == nil)
    }

    @Test(arguments: [[0, 0x40, 0, 1], [0xff, 0xff, 0xff, 0xff], [0, 0, 0, 0] as [UInt8]])
    func `an oversized or empty frame closes the channel`(header: [UInt8]) throws {
        let bench = try ControlBench()
        let channel = try bench.rawTLS(bench.primary, sending: [0, 0, 0, 1, 9] + header)
        #expect(bench.atBackup.frames.take() == [9])
        let error = try #require(bench.atBackup.closed.take())
        #expect(error?.code == (header[3] == 0 ? .protocolViolation : .tooLarge))
        try channel.closeFuture.wait()
        let primary = try bench.connect()
        #expect { try primary.send([]) } throws: { ($0 as? LinkError)?.code == .tooLarge }
        #expect { try primary.send(Array(repeating: 0, count: ControlChannel.maximumFrameLength + 1)) } throws: {
            ($0 as? LinkError)?.code == .tooLarge
        }
        try primary.send([1])
    }

    @Test func `a peer that does not read is given up instead of filling the memory`() throws {
        let bench = try ControlBench()
        let channel = try bench.rawTLS(bench.primary)
        let backup = try #require(bench.accepted.take())
        try channel.setOption(.autoRead, value: false).wait()
        let frame = [UInt8](repeating: 1, count: ControlChannel.maximumFrameLength)
        var refused: LinkError?
        for _ in 0..<40 where refused == nil {
            do throws(LinkError) { try backup.send(frame) } catch { refused = error }
        }
        #expect(refused?.code == .closed)
        let reason = try #require(bench.atBackup.closed.take())
        #expect(reason?.code == .closed)
        channel.close(promise: nil)
    }

    @Test func `a stopped listener accepts nobody and keeps accepted channels`() throws {
        let bench = try ControlBench()
        let primary = try bench.connect()
        bench.listener.stop()
        try primary.send([7])
        #expect(bench.atBackup.frames.take() == [7])
        #expect(bench.connectFailure() == .connectFailed)
    }

    @Test func `files that are missing or do not belong together are configuration errors`() throws {
        let bench = try ControlBench()
        var tls = bench.primary
        tls.keyFile = bench.backup.keyFile
        #expect(bench.connectFailure(tls) == .configuration)
        tls = bench.primary
        tls.authorityFile = bench.authority.path("missing.pem")
        #expect(bench.connectFailure(tls) == .configuration)
        #expect {
            try ControlListener(
                host: "192.0.2.1", port: 0, tls: bench.backup, peers: [],
                handlers: .init(accepted: { _ in ControlBench.Ends().handlers }))
        } throws: { ($0 as? LinkError)?.code == .configuration }
    }
}
