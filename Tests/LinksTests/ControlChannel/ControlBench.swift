// SPDX-License-Identifier: Apache-2.0

import Foundation
import NIOCore
import NIOPosix
import NIOSSL

@testable import Links

/// A control listener named backup.example that expects primary.example, and what became of its connections.
final class ControlBench {
    let authority: TestAuthority
    let backup: ControlTLS
    let primary: ControlTLS
    let accepted = Inbox<ControlChannel>()
    let rejected = Inbox<LinkError>()
    let atBackup = Ends()
    let listener: ControlListener

    /// What one end of a channel got.
    final class Ends: Sendable {
        let frames = Inbox<[UInt8]>()
        let closed = Inbox<LinkError?>()

        var handlers: ControlChannel.Handlers {
            ControlChannel.Handlers(frame: { [self] in frames.put($0) }, closed: { [self] in closed.put($0) })
        }
    }

    init(handshakeLimit: Duration = .seconds(60), maximumWaiting: Int = 64) throws {
        authority = try TestAuthority()
        backup = try authority.issue(commonName: "ignored", names: ["other.example", "backup.example"])
        primary = try authority.issue(commonName: "ignored", names: ["primary.example"])
        let (accepted, rejected, ends) = (accepted, rejected, atBackup)
        listener = try ControlListener(
            host: "127.0.0.1", port: 0, tls: backup, peers: ["primary.example", "third.example"], handshakeLimit: handshakeLimit,
            maximumWaiting: maximumWaiting,
            handlers: .init(
                accepted: {
                    accepted.put($0)
                    return ends.handlers
                }, rejected: { error, _ in rejected.put(error) }))
    }

    deinit {
        listener.stop()
    }

    func connect(_ tls: ControlTLS? = nil, peerName: String = "backup.example", ends: Ends = Ends()) throws(LinkError) -> ControlChannel {
        try ControlChannel.connect(
            host: "127.0.0.1", port: listener.port, tls: tls ?? primary, peerName: peerName, timeout: .seconds(60),
            handlers: ends.handlers)
    }

    func connectFailure(_ tls: ControlTLS? = nil, peerName: String = "backup.example") -> LinkError.Code? {
        do throws(LinkError) {
            _ = try connect(tls, peerName: peerName)
            return nil
        } catch { return error.code }
    }

    /// A TLS connection with settings of the test's own that sends bytes once the handshake is over.
    func rawTLS(_ tls: ControlTLS?, sending bytes: [UInt8] = [], maximum: TLSVersion? = nil) throws -> any Channel {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .none
        configuration.maximumTLSVersion = maximum
        if let tls {
            configuration.certificateChain = try NIOSSLCertificate.fromPEMFile(tls.certificateFile).map { .certificate($0) }
            configuration.privateKey = .privateKey(try NIOSSLPrivateKey(file: tls.keyFile, format: .pem))
        }
        let context = try NIOSSLContext(configuration: configuration)
        let channel = try ClientBootstrap(group: ControlEventLoop.group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(NIOSSLClientHandler(context: context, serverHostname: nil))
                }
            }
            .connect(host: "127.0.0.1", port: Int(listener.port)).wait()
        channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
        return channel
    }
}
