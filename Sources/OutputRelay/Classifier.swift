/// The classifiers of relays and standby taps: small programs on the tcx hooks, recognised by their names.
enum Classifier {
    /// The name of the program at the ingress of a gated guest's tap.
    static let gateName = "understudy_gate"
    /// The name of the program at both hooks of a standby's tap.
    static let deafName = "understudy_deaf"

    /// What the OUT tap writes into a released frame's mark, so that the gate knows it.
    private static let released: Int32 = 0x5544_5230
    /// What the gate writes into a frame's mark, so that the IN tap takes it and nothing else.
    private static let held: Int32 = 0x5544_4830
    /// `offsetof(struct __sk_buff, mark)`
    private static let mark: Int16 = 8
    /// `TCX_NEXT`: the user's own classifiers come next.
    private static let next: Int32 = -1
    /// `TCX_DROP`
    private static let drop: Int32 = 2
    /// `bpf_redirect`
    private static let redirect: Int32 = 23

    /// At the ingress of the guest's tap: marked frames pass without the mark, others as the map's state says.
    static func gate(_ map: GateMap) throws(OutputRelayError) -> FileDescriptor {
        let passMarked: [BPFInstruction] = [
            .set(1, 0), .store32(6, mark, 1), .set(1, 1), .add64(7, GateMap.passedOffset, 1), .set(0, next), .exit,
        ]
        let dropFrame: [BPFInstruction] = [.set(1, 1), .add64(7, GateMap.droppedOffset, 1), .set(0, drop), .exit]
        let pass: [BPFInstruction] = [.set(0, next), .exit]
        let hold: [BPFInstruction] = [
            .set(1, 1), .add64(7, GateMap.redirectedOffset, 1), .set(1, held), .store32(6, mark, 1),
            .load32(1, 7, GateMap.targetOffset), .set(2, 0), .call(redirect), .exit,
        ]
        let decide: [BPFInstruction] = [
            .load32(2, 6, mark), .skipIfEqual(2, released, Int16(3 + dropFrame.count + pass.count + hold.count)),
            .load32(2, 7, GateMap.stateOffset),
            .skipIfEqual(2, Int32(GateMap.State.open.rawValue), Int16(1 + dropFrame.count)),
            .skipIfEqual(2, Int32(GateMap.State.redirect.rawValue), Int16(dropFrame.count + pass.count)),
        ]
        return try BPF.load(name: gateName, prologue(map) + decide + dropFrame + pass + hold + passMarked)
    }

    /// At the egress of the IN tap: only frames that the gate redirected are taken. What else the host sends there (multicast reports,
    /// DHCP of an over-eager network manager) must not be mistaken for the guest's.
    static func takeHeld() throws(OutputRelayError) -> FileDescriptor {
        let take: [BPFInstruction] = [.set(2, 0), .store32(1, mark, 2), .set(0, next), .exit]
        return try BPF.load(
            name: "understudy_in", [.load32(2, 1, mark), .skipIfEqual(2, held, 2), .set(0, drop), .exit] + take)
    }

    /// At the ingress of the OUT tap: marks a released frame and hands it to the ingress of the guest's tap.
    static func giveBack(to guest: Int32) throws(OutputRelayError) -> FileDescriptor {
        try BPF.load(
            name: "understudy_out", [.set(2, released), .store32(1, mark, 2), .set(1, guest), .set(2, 1), .call(redirect), .exit])
    }

    /// Drops every frame.
    static func dropAll() throws(OutputRelayError) -> FileDescriptor {
        try BPF.load(name: "understudy_drop", [.set(0, drop), .exit])
    }

    /// At both hooks of a standby's tap: drops every frame until the map's state is *open*.
    static func deaf(_ map: GateMap) throws(OutputRelayError) -> FileDescriptor {
        let pass: [BPFInstruction] = [.set(0, next), .exit]
        let dropFrame: [BPFInstruction] = [.set(1, 1), .add64(7, GateMap.droppedOffset, 1), .set(0, drop), .exit]
        let decide: [BPFInstruction] = [
            .load32(2, 7, GateMap.stateOffset), .skipIfEqual(2, Int32(GateMap.State.open.rawValue), Int16(dropFrame.count)),
        ]
        return try BPF.load(name: deafName, prologue(map) + decide + dropFrame + pass)
    }

    /// r6 = the frame, r7 = the map's value
    private static func prologue(_ map: GateMap) -> [BPFInstruction] {
        [.move(6, 1)] + BPFInstruction.mapValue(7, map.descriptor.number)
    }
}
