/// A TCP segment that a guest with segmentation offload hands to its tap: one frame larger than any MTU.
enum Segment {
    /// The virtio-net header (12 bytes) and the frame with `payload` bytes of data.
    static func make(payload: Int) -> (virtio: [UInt8], frame: [UInt8]) {
        func word(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 0xff), UInt8(value & 0xff)] }
        func little(_ value: Int) -> [UInt8] { word(value).reversed() }
        var header: [UInt8] = [0x45, 0] + word(40 + payload) + word(1) + word(0) + [64, 6] + word(0) + [10, 0, 0, 2] + [10, 0, 0, 1]
        var sum = stride(from: 0, to: 20, by: 2).reduce(0) { $0 + Int(header[$1]) << 8 + Int(header[$1 + 1]) }
        while sum > 0xffff { sum = (sum & 0xffff) + (sum >> 16) }
        header.replaceSubrange(10..<12, with: word(~sum & 0xffff))
        let transport = word(1) + word(2) + [0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10] + word(1000) + word(0) + word(0)
        let data = (0..<payload).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let frame = TestNetwork.broadcast + TestNetwork.guestAddress + [8, 0] + header + transport + data
        // Needs a checksum, TCP over IPv4, 54 bytes of headers, segments of 1,448 bytes, checksum at 34 + 16, one buffer.
        return ([1, 1] + little(54) + little(1448) + little(34) + little(16) + little(0), frame)
    }
}
