import Foundation
import Glibc
import HostAPI
import Links
import NIOCore
import NIOPosix
import NIOSSL
import Testing

@testable import HostDaemon

/// Random and mutated bytes at the daemon's ports for its peers: control without and with TLS, and checkpoints.
@Suite(.enabled(if: RunningDaemon.isPossible, "needs root, openssl and the built programs"))
struct PeerFuzzTests {
    private static let messages: [[UInt8]] = [
        ControlMessage.prepare(ControlPeer.preparation()), .takeOver(failure: "exited"), .dismiss(reason: "unprotected"),
        .prepared(StandbyReport(rules: ["x"], warnings: [], qemu: "7.2.0", arbiterNonce: nil)), .refused(message: "x"), .rehearsed,
        .rehearsalFailed(message: "x"), .standbyLost(reason: "x"), .takeoverDeclined(reason: "x"), .winnerRuns(generation: 1),
        .handedBack(generation: 2), .heartbeat(Heartbeat(progressAge: 1, condition: "eligible", committed: 4)), .log(message: "x"),
    ].map { $0.encoded() }

    @Test func theDaemonSurvivesWhateverComesThroughItsPeerPorts() async throws {
        try await FuzzRun.onOwnThread { try Self.fuzz() }
    }

    private static func fuzz() throws {
        let daemon = try RunningDaemon()
        let tls = try daemon.certificate()
        let context = try Self.context(tls)
        let greeting = try Self.clientGreeting(tls)
        let preface = Array("UNDRSTDY".utf8) + [1, 0, 0, 0, 0, 0, 0, 0]
        try FuzzRun(daemon: daemon, name: "peer ports").play { numbers in
            switch Int.random(in: 0..<16, using: &numbers) {
            case 0...2: Self.send(numbers.bytes(0...3_000), to: daemon.control, &numbers)
            case 3...6: Self.send(numbers.mutated(greeting) + numbers.bytes(0...600), to: daemon.control, &numbers)
            case 7...9: Self.send(numbers.bytes(0...3_000), to: daemon.checkpoint, &numbers)
            case 10...11:
                Self.send(numbers.mutated(preface + numbers.bytes(48...48)) + numbers.bytes(0...3_000), to: daemon.checkpoint, &numbers)
            case 12: Self.flood(daemon, &numbers)
            default: Self.sendInsideTLS(Self.frames(&numbers), to: daemon, context)
            }
        } probe: {
            // Whoever waits in vain is turned away after its time: then a peer with the right certificate is heard, and answered.
            try daemon.wait(for: "an accepted channel") {
                guard let peer = try? ControlPeer(to: daemon, as: tls), (try? peer.channel.send(Self.messages[0])) != nil else {
                    return false
                }
                return (try? daemon.wait(for: "the daemon's answer") { peer.refusal != nil }) != nil
            }
            try daemon.wait(for: "the checkpoint port to turn a stranger away") {
                Self.isTurnedAway(preface + Array(repeating: 7, count: 48), by: daemon)
            }
        }
    }

    /// Frames as they stand inside TLS: whole, mutated, oversized, empty, cut off.
    private static func frames(_ numbers: inout SeededBytes) -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<Int.random(in: 1...6, using: &numbers) {
            let message = numbers.element(of: messages)
            let frame =
                numbers.chance(of: 1, in: 4) ? message : numbers.chance(of: 1, in: 4) ? numbers.bytes(1...2_000) : numbers.mutated(message)
            let length = numbers.chance(of: 1, in: 12) ? UInt32.random(in: 0 ... .max, using: &numbers) : UInt32(frame.count)
            bytes += withUnsafeBytes(of: length.bigEndian) { Array($0) } + frame
        }
        return bytes
    }

    private static func sendInsideTLS(_ bytes: [UInt8], to daemon: RunningDaemon, _ context: NIOSSLContext) {
        let connected = ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connectTimeout(.seconds(60))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(NIOSSLClientHandler(context: context, serverHostname: nil))
                }
            }
            .connect(host: "127.0.0.1", port: Int(daemon.control))
        guard let channel = try? connected.wait() else { return }
        // Either may fail: the daemon turns more than 64 handshakes at once away, and closes at the first impossible frame.
        _ = try? channel.writeAndFlush(ByteBuffer(bytes: bytes)).wait()
        _ = try? channel.close().wait()
    }

    private static func send(_ bytes: [UInt8], to port: UInt16, _ numbers: inout SeededBytes) {
        let descriptor = FreePort.connect(port)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let end = numbers.chance(of: 1, in: 4) ? Int.random(in: 0...bytes.count, using: &numbers) : bytes.count
        _ = bytes[..<end].withUnsafeBytes { UnixSocket.writeAll(descriptor, $0) }
        if numbers.chance(of: 1, in: 3) { _ = readMore(descriptor) }
        guard numbers.chance(of: 1, in: 4) else { return }
        // A reset instead of an orderly end.
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
    }

    /// Reads once, for a moment at the most.
    private static func readMore(_ descriptor: CInt) -> Int {
        var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&ready, 1, 50) > 0 else { return -1 }
        var byte: UInt8 = 0
        return recv(descriptor, &byte, 1, 0)
    }

    /// More connections that say nothing than either port lets wait.
    private static func flood(_ daemon: RunningDaemon, _ numbers: inout SeededBytes) {
        let descriptors = (0..<100).map { index in FreePort.connect(index % 2 == 0 ? daemon.control : daemon.checkpoint) }
        for descriptor in descriptors where descriptor >= 0 {
            _ = numbers.bytes(1...40).withUnsafeBytes { UnixSocket.writeAll(descriptor, $0) }
        }
        for descriptor in descriptors where descriptor >= 0 { close(descriptor) }
    }

    private static func isTurnedAway(_ preface: [UInt8], by daemon: RunningDaemon) -> Bool {
        let descriptor = FreePort.connect(daemon.checkpoint)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        guard preface.withUnsafeBytes({ UnixSocket.writeAll(descriptor, $0) }) else { return false }
        var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        var byte: UInt8 = 0
        return poll(&ready, 1, 60_000) > 0 && recv(descriptor, &byte, 1, 0) <= 0
    }

    private static func context(_ tls: ControlTLS) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .none
        configuration.certificateChain = try NIOSSLCertificate.fromPEMFile(tls.certificateFile).map { .certificate($0) }
        configuration.privateKey = .privateKey(try NIOSSLPrivateKey(file: tls.keyFile, format: .pem))
        return try NIOSSLContext(configuration: configuration)
    }

    /// The first bytes of a real handshake, as a real peer sends them.
    private static func clientGreeting(_ tls: ControlTLS) throws -> [UInt8] {
        let (listener, port) = try FreePort.listen()
        let connecting = Thread {
            _ = try? ControlChannel.connect(
                host: "127.0.0.1", port: port, tls: tls, peerName: "alpha", timeout: .seconds(60),
                handlers: .init(frame: { _ in }, closed: { _ in }))
        }
        connecting.start()
        let descriptor = accept(listener, nil, nil)
        close(listener)
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        guard descriptor >= 0, UnixSocket.readMore(descriptor, into: &bytes) else { throw DaemonFailure("no handshake came") }
        return bytes
    }
}
