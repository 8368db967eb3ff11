internal import Glibc

/// Tries what the output gate needs of the kernel, on a tap of its own that is in no bridge and vanishes at the end.
public enum GateTrial {
    /// Makes a tap, attaches the gate's classifier and demands that it holds a frame back when shut and lets it pass when open.
    ///
    /// - Throws: `permission`, `kernel`, `gateDisturbed` when a frame did not go the way that it should.
    public static func run() throws(OutputRelayError) { try run(frames: 1) }

    /// - Parameter frames: how many are sent against the shut gate, of which one is expected.
    static func run(frames: Int) throws(OutputRelayError) {
        let name = "us-try-" + String(UInt32.random(in: .min ... .max), radix: 16)
        let tap = try TapDevice.open(name)
        let index = try NetworkInterface.named(name).index
        var socket = try NetlinkSocket()
        try socket.silenceIPv6(index)
        let map = try GateMap(state: .shut, identity: name)
        try BPF.attach(Classifier.gate(map), to: index, .ingress)
        try socket.change(index, up: true, "taking a trial tap up")
        for _ in 0..<frames { try send(on: tap) }
        guard map.dropped == 1 else {
            throw OutputRelayError(
                .gateDisturbed, "a shut gate saw \(map.dropped) frames of 1: something on this host goes before the classifiers of taps")
        }
        map.state = .open
        for _ in 0..<frames { try send(on: tap) }
        guard map.dropped == 1 else { throw OutputRelayError(.gateDisturbed, "an open gate dropped a frame") }
    }

    /// What a guest would send: a virtio-net header, and a frame of an EtherType for experiments (IEEE 802, 0x88b5).
    private static func send(on tap: FileDescriptor) throws(OutputRelayError) {
        var frame = [UInt8](repeating: 0, count: FrameRing.virtioHeader + 60)
        for (offset, byte) in [UInt8(2), 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5].enumerated() {
            frame[FrameRing.virtioHeader + offset] = byte
        }
        guard write(tap.number, frame, frame.count) == frame.count else { throw .kernel("sending on a trial tap", "write", errno) }
    }
}
