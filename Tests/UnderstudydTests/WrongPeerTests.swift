import Foundation
import Glibc
import HostAPI
import Links
import Testing

@testable import Demonstration
@testable import HostDaemon

/// Peers with the wrong certificate, name, version or words.
@Suite(.serialized, .enabled(if: RunningDaemon.isPossible, "needs root, openssl and the built programs"))
struct WrongPeerTests {
    private func connectFailure(_ daemon: RunningDaemon, _ tls: ControlTLS) -> LinkError? {
        do throws(LinkError) {
            _ = try ControlPeer(to: daemon, as: tls)
            return nil
        } catch { return error }
    }

    @Test func aPeerWithAWrongCertificateIsTurnedAwayAndTheLogSaysWhy() throws {
        let daemon = try RunningDaemon()
        let folder = "\(daemon.folder)/stranger"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let stranger = try LabAuthority(folder: folder)
        #expect(connectFailure(daemon, try daemon.certificate(signedBy: stranger)) != nil)
        try daemon.wait(for: "a line about TLS") { daemon.log.contains("check both hosts' certificates") }
        #expect(connectFailure(daemon, try daemon.certificate(of: "gamma")) != nil)
        try daemon.wait(for: "a line about the name") {
            daemon.log.contains("the peer's certificate names gamma, expected is beta")
        }
        #expect(try daemon.events().filter { $0.kind == "rejected" }.count >= 2)
        #expect(connectFailure(daemon, try daemon.certificate()) == nil, "control: the right one is taken")
    }

    @Test func aBackupWithAWrongCertificateIsNamedToTheOperator() throws {
        let port = try FreePort.take()
        let daemon = try RunningDaemon(peerControl: port)
        let listener = try ControlListener(
            host: "127.0.0.1", port: port, tls: try daemon.certificate(of: "gamma"), peers: ["alpha"],
            handlers: .init(accepted: { _ in .init(frame: { _ in }, closed: { _ in }) }))
        defer { listener.stop() }
        let (status, output) = try daemon.understudy(["check", "--backup", "beta"])
        #expect(output.contains("the peer's certificate names gamma, expected is beta") && status == 1, "\(output)")
    }

    @Test func aPeerOfAnotherProtocolVersionIsToldSo() throws {
        let daemon = try RunningDaemon()
        let newer = try ControlPeer(to: daemon, as: try daemon.certificate())
        try newer.channel.send(ControlMessage.prepare(ControlPeer.preparation(version: ControlMessage.version + 1)).encoded())
        try daemon.wait(for: "the refusal") { newer.refusal != nil }
        let said =
            "speaks protocol version \(ControlMessage.version + 1), this host \(ControlMessage.version): run the same version on both"
        #expect(newer.refusal?.contains(said) == true)
        // A message that this version does not even know.
        let stranger = try ControlPeer(to: daemon, as: try daemon.certificate())
        try stranger.channel.send(Array(#"{"prepareEverything":{"version":3}}"#.utf8))
        try daemon.wait(for: "the end of the channel") { stranger.isClosed }
        #expect(stranger.refusal?.contains("run the same version on both hosts") == true)
        try daemon.wait(for: "the log") { daemon.log.contains("does not know: run the same version on both hosts") }
        #expect(try daemon.machines().allSatisfy { $0.state == .failed })
    }

    @Test func aPeerMayNeitherSpeakForAnotherHostNorChooseAnyName() throws {
        let daemon = try RunningDaemon()
        let long = String(repeating: "x", count: 1 << 20)
        for (preparation, said) in [
            (ControlPeer.preparation(primary: "gamma"), "beta asked in the name of gamma"),
            (ControlPeer.preparation(name: "../../etc"), "name is not usable"),
            (ControlPeer.preparation(name: "line\n2026-11-21 forged"), "name is not usable"),
            (ControlPeer.preparation(name: long), "name is not usable"),
            (ControlPeer.preparation(), "arbiter"),
        ] {
            let peer = try ControlPeer(to: daemon, as: try daemon.certificate())
            try peer.channel.send(ControlMessage.prepare(preparation).encoded())
            try daemon.wait(for: "the refusal that says \(said)") { peer.refusal != nil }
            #expect(peer.refusal?.contains(said) == true, "\(peer.refusal ?? "")")
        }
        #expect(!daemon.log.contains("forged") && daemon.log.utf8.count < 100_000)
        #expect(try daemon.events().allSatisfy { $0.machine.utf8.count <= 64 })
        #expect(!FileManager.default.fileExists(atPath: "\(daemon.folder)/run/vm.standby"), "nothing was prepared without the record")
    }

    /// The same words again, on the same channel and on another one, make no second standby and harm nobody.
    @Test func aRepeatedWishIsRefusedOnce() throws {
        let daemon = try RunningDaemon()
        let wish = ControlMessage.prepare(ControlPeer.preparation()).encoded()
        let peer = try ControlPeer(to: daemon, as: try daemon.certificate())
        for _ in 0..<20 { try peer.channel.send(wish) }
        let others = try (0..<4).map { _ in try ControlPeer(to: daemon, as: try daemon.certificate()) }
        for other in others { try other.channel.send(wish) }
        try daemon.wait(for: "refusals on every channel") { ([peer] + others).allSatisfy { $0.refusal != nil } }
        #expect(try daemon.machines().map(\.name) == ["vm"])
        #expect(daemon.process.isRunning)
    }
}
