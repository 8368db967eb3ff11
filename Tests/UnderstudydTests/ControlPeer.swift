import Foundation
import Hypervisor
import Links
import QMP
import Synchronization
import UnderstudyCore

@testable import HostDaemon

/// A peer of the daemon under test: its end of a control channel, and what came through it.
final class ControlPeer: Sendable {
    let channel: ControlChannel
    private let inbox: Inbox

    private final class Inbox: Sendable {
        struct State {
            var frames: [[UInt8]] = []
            var isClosed = false
        }
        let state = Mutex(State())
    }

    /// Connects to the daemon with a certificate.
    init(to daemon: RunningDaemon, as tls: ControlTLS) throws(LinkError) {
        let inbox = Inbox()
        self.inbox = inbox
        channel = try ControlChannel.connect(
            host: "127.0.0.1", port: daemon.control, tls: tls, peerName: "alpha", timeout: .seconds(60),
            handlers: ControlChannel.Handlers(
                frame: { frame in inbox.state.withLock { $0.frames.append(frame) } },
                closed: { _ in inbox.state.withLock { $0.isClosed = true } }))
    }

    deinit { channel.close() }

    var isClosed: Bool { inbox.state.withLock { $0.isClosed } }

    /// What the daemon refused with; nil while it has not refused.
    var refusal: String? {
        inbox.state.withLock { $0.frames }.compactMap { frame in
            if case .refused(let message)? = ControlMessage.decode(frame) { message } else { nil }
        }.first
    }

    /// A machine's wish for a standby that is right in every respect but the arbiter's record.
    static func preparation(name: String = "vm", primary: String = "beta", version: Int = ControlMessage.version) -> Preparation {
        let block = RAMBlock(name: "pc.ram", usedLength: 1 << 20, totalLength: 1 << 20, hostAddress: 0x7f00_0000_0000)
        let machine = MachineDescription(
            process: ProcessDescription(id: 1, arguments: ["/bin/false"]), version: .init(major: 7, minor: 2, micro: 0),
            machineType: "pc-q35-7.2", ramBlocks: [block])
        return Preparation(
            version: version, name: name, primary: primary, machine: machine, residentMemory: 1 << 20, bridges: ["tap0": "br0"],
            record: ArbiterRecord(generation: 1, owner: primary, backup: "alpha", nonce: "n", confirmed: true),
            session: String(repeating: "ab", count: 16), sessionKey: String(repeating: "cd", count: 32), sessionNonce: 7,
            detectionNanoseconds: 150_000_000, arbiterNonce: "x")
    }
}
