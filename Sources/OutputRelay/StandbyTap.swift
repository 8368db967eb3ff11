import Glibc
import LinuxShim

/// The tap of a waiting standby: persistent, up and a port of its bridge, but deaf and mute until `open`.
///
/// Two classifiers drop every frame in both directions, so that nothing that was flooded for hours reaches the guest at takeover. They are
/// attached before the tap is up. The tap gets a MAC address of its own (`fe:` and random bytes: never the guest's, and never the lowest of
/// the bridge, which would change the bridge's address).
public final class StandbyTap: @unchecked Sendable {
    /// The tap's name.
    public let name: String
    private let index: Int32
    private let map: GateMap
    private let program: FileDescriptor
    private let injector: TapInjector
    /// How a later daemon knows the tap for a standby's.
    private static let alias = "understudy: standby"

    /// Makes the tap.
    /// - Parameters:
    ///   - name: at most 15 bytes; must not exist.
    ///   - bridge: an existing bridge.
    ///   - queues: more than 1 makes a multiqueue tap, which QEMU must open with `queues=`.
    ///   - mtu: bytes of payload; the bridge's when nil.
    ///   - owner: the user id that may open the tap; anyone privileged when nil.
    /// - Throws: `notInBridge` (no such bridge), `interfaceExists`, `permission`, `kernel`.
    public static func create(
        name: String, bridge: String, queues: Int = 1, mtu: UInt32? = nil, owner: UInt32? = nil
    ) throws(OutputRelayError) -> StandbyTap {
        guard let port = try NetworkInterface.find(bridge), port.kind == .other("bridge") else {
            throw OutputRelayError(.notInBridge, "there is no bridge \(bridge) on this host: create it, or name another one")
        }
        guard try NetworkInterface.find(name) == nil else {
            throw OutputRelayError(
                .interfaceExists, "the interface \(name) exists already: remove it, or choose another name for the standby's tap")
        }
        let device = try TapDevice.open(name, multiqueue: queues > 1)
        let index = try NetworkInterface.named(name).index
        // Persistent only at the end: on any error the tap goes with its descriptor.
        let tap = try StandbyTap(name: name, index: index)
        try tap.join(port, mtu: mtu ?? port.mtu)
        let result = understudy_tap_persist(device.number, owner ?? UInt32.max)
        guard result == 0 else { throw .kernel("making the tap \(name) persistent", "ioctl(TUNSETPERSIST)", -result) }
        return tap
    }

    /// Attaches the classifiers: the tap is down and in no bridge yet.
    private init(name: String, index: Int32) throws(OutputRelayError) {
        self.name = name
        self.index = index
        map = try GateMap(state: .shut, identity: name)
        program = try Classifier.deaf(map)
        injector = try TapInjector(tap: index)
        try BPF.attach(program, to: index, .egress)
        try BPF.attach(program, to: index, .ingress)
    }

    private func join(_ bridge: NetworkInterface, mtu: UInt32) throws(OutputRelayError) {
        var socket = try NetlinkSocket()
        try socket.silenceIPv6(index)
        let address = [UInt8(0xfe)] + (0..<5).map { _ in UInt8.random(in: .min ... .max) }
        try socket.change(index, "configuring \(name)") { message in
            message.attribute(1, address)
            message.attribute(4, mtu)
            message.attribute(20, Self.alias)
        }
        try socket.change(index, up: true, "putting \(name) into the bridge \(bridge.name)") { $0.attribute(10, bridge.index) }
    }

    /// Whether the bridge forwards for this port: needs a process that holds the tap open (the waiting QEMU). Ask before takeover: after
    /// the tap was opened the kernel takes up to a second.
    /// - Throws: `noSuchInterface`, `kernel`.
    public func isForwarding() throws(OutputRelayError) -> Bool {
        let interface = try NetworkInterface.named(name)
        return interface.hasCarrier && interface.isForwarding
    }

    /// Frames dropped in both directions so far.
    public var droppedFrames: UInt64 { map.dropped }

    /// Lets frames pass in both directions at once (one store, no system call). Idempotent.
    public func open() { map.state = .open }

    /// Hands a frame that came for the guest elsewhere to whoever holds the tap.
    ///
    /// - Parameter frame: as `TapQueue.take` gave it.
    /// - Throws: `illegalTransition` while the tap is deaf; `kernel`: the queue is full, or the frame is none.
    public func deliver(_ frame: [UInt8]) throws(OutputRelayError) {
        guard isOpen else { throw OutputRelayError(.illegalTransition, "the standby's tap \(name) is still deaf") }
        try injector.send(frame)
    }

    /// Whether frames pass.
    public var isOpen: Bool { map.state == .open }

    /// Lets frames pass through the standby tap `name` that an earlier daemon left. Idempotent; a tap without our classifiers is open.
    /// - Throws: `noSuchInterface`, `permission`, `kernel`.
    public static func open(name: String) throws(OutputRelayError) {
        let interface = try NetworkInterface.named(name)
        for hook in [BPF.Hook.ingress, .egress] {
            for classifier in try AttachedClassifier.find(Classifier.deafName, on: interface.index, hook) { classifier.map.state = .open }
        }
    }

    /// Takes the classifiers of an open tap away. Not needed for anything; waits for the kernel, so not during a takeover. Idempotent.
    /// - Throws: `illegalTransition` while the tap is deaf, `permission`, `kernel`.
    public func removeClassifiers() throws(OutputRelayError) {
        guard isOpen else { throw OutputRelayError(.illegalTransition, "the standby's tap \(name) is still deaf") }
        for hook in [BPF.Hook.ingress, .egress] {
            do throws(OutputRelayError) {
                try BPF.detach(program, from: index, hook)
            } catch  where error.systemCallNumber == ENOENT || error.systemCallNumber == ENODEV {
                continue
            }
        }
    }

    /// Deletes the tap, also under a process that holds it. Idempotent.
    /// - Throws: `permission`, `kernel`.
    public func remove() throws(OutputRelayError) {
        var socket = try NetlinkSocket()
        try socket.delete(index, "deleting the tap \(name)")
    }

    /// Deletes the standby tap `name` that an earlier daemon left. No tap is no error; a tap that no `create` made is refused, and so is one
    /// that a QEMU still has open after `patience` (another standby, or a guest that was taken over through it).
    /// - Throws: `notATap`, `gateInUse`, `permission`, `kernel`.
    public static func remove(name: String, patience: Duration = .seconds(2)) throws(OutputRelayError) {
        guard var interface = try NetworkInterface.find(name) else { return }
        guard interface.kind == .tap, interface.alias == alias else {
            throw OutputRelayError(.notATap, "\(name) is not the tap of a standby: it is not touched")
        }
        let end = ContinuousClock.now + patience
        while interface.hasCarrier {
            // The standby of a daemon that died ends with its stream, moments later.
            guard ContinuousClock.now < end else {
                throw OutputRelayError(.gateInUse, "the standby's tap \(name) is in use: it is not touched")
            }
            usleep(20_000)
            guard let again = try NetworkInterface.find(name) else { return }
            interface = again
        }
        var socket = try NetlinkSocket()
        try socket.delete(interface.index, "deleting the tap \(name)")
    }

    /// Deletes those of the taps that a `create` made, whoever called it; anybody else's are left alone.
    ///
    /// - Returns: a sentence for the operator about each one that is left and should not be.
    public static func removeOwn(_ names: [String]) -> [String] {
        names.compactMap { name in
            do throws(OutputRelayError) {
                try remove(name: name)
                return nil
            } catch {
                return error.code == .notATap ? nil : "the tap \(name) could not be removed: \(error)"
            }
        }
    }
}
