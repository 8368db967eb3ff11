/// The IN and OUT taps of a relay. They vanish with their descriptors.
struct RelayTaps: Sendable {
    let input: FileDescriptor
    let inputIndex: Int32
    let output: FileDescriptor

    /// The name of the IN tap of the guest's tap with this index: found again by whoever knows the guest's tap.
    static func inputName(_ guest: Int32) -> String { "us-in-" + String(guest, radix: 16) }

    /// The name of the OUT tap of the guest's tap with this index.
    static func outputName(_ guest: Int32) -> String { "us-out-" + String(guest, radix: 16) }

    /// Makes both taps for `guest`, silent and up. The name of the IN tap is the lock against a second daemon.
    init(guest: NetworkInterface, queueLength: UInt32) throws(OutputRelayError) {
        var socket = try NetlinkSocket()
        let (input, inputIndex) = try Self.make(Self.inputName(guest.index), for: guest, queueLength, &socket)
        let (output, outputIndex) = try Self.make(Self.outputName(guest.index), for: guest, nil, &socket)
        try BPF.attach(Classifier.takeHeld(), to: inputIndex, .egress)
        try BPF.attach(Classifier.dropAll(), to: inputIndex, .ingress)
        try BPF.attach(Classifier.giveBack(to: guest.index), to: outputIndex, .ingress)
        try BPF.attach(Classifier.dropAll(), to: outputIndex, .egress)
        for index in [inputIndex, outputIndex] { try socket.change(index, up: true, "taking a relay tap up") }
        self.input = input
        self.inputIndex = inputIndex
        self.output = output
    }

    private static func make(
        _ name: String, for guest: NetworkInterface, _ queueLength: UInt32?, _ socket: inout NetlinkSocket
    ) throws(OutputRelayError) -> (FileDescriptor, Int32) {
        let descriptor = try TapDevice.open(name)
        let index = try NetworkInterface.named(name).index
        try socket.silenceIPv6(index)
        try socket.change(index, "configuring \(name)") { message in
            message.attribute(4, guest.mtu)
            message.attribute(20, "understudy: output of \(guest.name)")
            if let queueLength { message.attribute(13, queueLength) }
        }
        if queueLength != nil { try socket.removeQueueing(index) }
        return (descriptor, index)
    }
}
