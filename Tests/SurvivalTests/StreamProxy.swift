import Demonstration
import Glibc
import Synchronization

/// Carries the checkpoint streams of one host to the other, and cuts them where a test wants it.
///
/// It sees what a cable sees: the preface of 64 bytes, then records of a clear length (u32, little-endian) and so many sealed bytes.
final class StreamProxy: Sendable {
    /// Where the primary's stream is cut, counted from the moment of arming.
    enum Cut: Sendable, Equatable {
        /// After so many whole records of the epoch that begins next; 0 is right after the epoch before.
        case boundary(Int)
        /// After so many bytes.
        case bytes(Int)
    }

    private struct Plan {
        var cut: Cut
        var action: @Sendable () -> Void
    }

    private struct State {
        var plan: Plan?
        var isStopped = false
        var open: [Int32] = []
        var recordsOfLastEpoch = 0
    }

    let host: LabHost
    /// What the host's daemon is configured to connect to.
    let route: String
    private let target: String
    private let listener: Int32
    private let state = Mutex(State())
    private static let port: UInt16 = 7650

    private init(host: LabHost, address: String, target: String) throws {
        self.host = host
        self.target = target
        route = "\(address):\(Self.port)"
        listener = try host.run { () throws(DemonstrationError) in
            let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            var on: Int32 = 1
            setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, 4)
            guard Self.with(address, Self.port, { bind(listener, $0, $1) }) == 0, listen(listener, 8) == 0 else {
                close(listener)
                throw DemonstrationError(.network, "the proxy cannot listen at \(address): errno \(errno)")
            }
            return listener
        }
        Self.detach { [self] in serve() }
    }

    /// One proxy on each host.
    static func pair(in lab: Lab) throws -> [StreamProxy] {
        [
            try StreamProxy(host: lab.host1, address: LabAddresses.host1Replication, target: LabAddresses.host2Replication),
            try StreamProxy(host: lab.host2, address: LabAddresses.host2Replication, target: LabAddresses.host1Replication),
        ]
    }

    /// Cuts the stream: nothing goes on in either direction, and `action` is called at once, before both ends are closed.
    func arm(_ cut: Cut, action: @escaping @Sendable () -> Void = {}) { state.withLock { $0.plan = Plan(cut: cut, action: action) } }

    /// Records of the last whole epoch that passed, begin and end included.
    var recordsOfLastEpoch: Int { state.withLock { $0.recordsOfLastEpoch } }

    var isArmed: Bool { state.withLock { $0.plan != nil } }

    func stop() {
        state.withLock { state in
            guard !state.isStopped else { return }
            state.isStopped = true
            shutdown(listener, Int32(SHUT_RDWR))
            for socket in state.open { shutdown(socket, Int32(SHUT_RDWR)) }
        }
    }

    static func detach(_ body: @escaping @Sendable () -> Void) {
        var thread = pthread_t()
        let box = Unmanaged.passRetained(Box(body))
        pthread_create(
            &thread, nil,
            { raw in
                // SAFETY: the pointer is the box retained for this thread alone.
                Unmanaged<Box>.fromOpaque(raw!).takeRetainedValue().body()
                return nil
            }, box.toOpaque())
        pthread_detach(thread)
    }

    private final class Box: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    private static func with(_ address: String, _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        inet_pton(AF_INET, address, &name.sin_addr)
        return withUnsafePointer(to: &name) {
            // SAFETY: a sockaddr_in is read as the sockaddr that its family says it is.
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
    }

    private func serve() {
        while true {
            let near = accept(listener, nil, nil)
            guard near >= 0 else { break }
            let target = target
            let far = try? host.run { () throws(DemonstrationError) in
                let far = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
                guard Self.with(target, 7641, { connect(far, $0, $1) }) == 0 else {
                    close(far)
                    throw DemonstrationError(.network, "the proxy cannot connect")
                }
                return far
            }
            guard let far, begin(near, far) else {
                close(near)
                continue
            }
        }
        close(listener)
    }

    private func begin(_ near: Int32, _ far: Int32) -> Bool {
        for socket in [near, far] {
            var on: Int32 = 1
            setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &on, 4)
        }
        let ok = state.withLock { state in
            guard !state.isStopped else { return false }
            state.open += [near, far]
            return true
        }
        guard ok else {
            close(far)
            return false
        }
        let ends = Mutex(2)
        let end: @Sendable () -> Void = { [self] in
            shutdown(near, Int32(SHUT_RDWR))
            shutdown(far, Int32(SHUT_RDWR))
            let last = ends.withLock { left in
                left -= 1
                return left == 0
            }
            guard last else { return }
            state.withLock { $0.open.removeAll { $0 == near || $0 == far } }
            close(near)
            close(far)
        }
        let cut = Cutting()
        Self.detach { [self] in
            forward(from: near, to: far, cut: cut)
            end()
        }
        Self.detach {
            var buffer = [UInt8](repeating: 0, count: 65536)
            while true {
                let count = recv(far, &buffer, buffer.count, 0)
                guard count > 0, !cut.done.load(ordering: .acquiring), Self.sendAll(near, buffer[..<count]) else { break }
            }
            end()
        }
        return true
    }

    private final class Cutting: Sendable {
        let done = Atomic(false)
    }

    private static func sendAll(_ socket: Int32, _ bytes: ArraySlice<UInt8>) -> Bool {
        var rest = bytes
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { send(socket, $0.baseAddress!, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }

    /// The primary's direction, record after record.
    private func forward(from near: Int32, to far: Int32, cut: Cutting) {
        var framing = Framing()
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        while true {
            let count = recv(near, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            let (length, plan) = state.withLock { state -> (Int, Plan?) in
                let length = framing.advance(buffer[..<count], through: state.plan?.cut)
                state.recordsOfLastEpoch = framing.recordsOfLastEpoch
                guard let length else { return (count, nil) }
                defer { state.plan = nil }
                return (length, state.plan)
            }
            guard let plan else {
                guard Self.sendAll(far, buffer[..<length]) else { return }
                continue
            }
            cut.done.store(true, ordering: .releasing)
            if length > 0 { _ = Self.sendAll(far, buffer[..<length]) }
            plan.action()
            return
        }
    }

    /// Where in the stream's records a byte lies.
    private struct Framing {
        private(set) var recordsOfLastEpoch = 0
        /// Bytes until the next length field; the preface comes first.
        private var body = 64
        private var field: [UInt8] = []
        private var recordLength = 0
        /// Records of this epoch that have passed.
        private var records = 0
        /// Bytes that have passed since a cut by bytes was wanted.
        private var counted = 0
        /// Whether the epoch that a cut wants to tear has begun.
        private var isAligned = false
        /// That epoch had no more records than the cut wanted: its end serves.
        private var isMissed = false

        /// The sealed end of an epoch is told by its length. A record of pages or devices may have it too, once in a while: the cut then lies
        /// at another boundary than was wanted.
        private static let endLength = 72 + 16

        /// Goes on through the bytes as far as the cut; how many may pass when the cut was reached, else nil.
        mutating func advance(_ bytes: ArraySlice<UInt8>, through cut: StreamProxy.Cut?) -> Int? {
            var index = bytes.startIndex
            if cut == nil {
                counted = 0
                isAligned = false
                isMissed = false
            }
            while index < bytes.endIndex {
                guard body > 0 else {
                    read(bytes[index])
                    index += 1
                    counted += 1
                    if isAt(cut) { return index - bytes.startIndex }
                    continue
                }
                var step = min(body, bytes.endIndex - index)
                if case .bytes(let limit)? = cut { step = max(1, min(step, limit - counted)) }
                body -= step
                index += step
                counted += step
                if body == 0 { endRecord(cut) }
                if body == 0 && isAtBoundary(cut) || isAt(cut) { return index - bytes.startIndex }
            }
            return nil
        }

        private mutating func read(_ byte: UInt8) {
            field.append(byte)
            guard field.count == 4 else { return }
            recordLength = field.enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
            body = recordLength
            field = []
        }

        private mutating func endRecord(_ cut: StreamProxy.Cut?) {
            records += 1
            guard recordLength == Self.endLength else { return }
            recordsOfLastEpoch = records
            if isAligned, case .boundary(let wanted)? = cut, records <= wanted { isMissed = true }
            records = 0
            isAligned = true
        }

        private func isAt(_ cut: StreamProxy.Cut?) -> Bool {
            if case .bytes(let limit)? = cut { counted >= limit } else { false }
        }

        /// A whole epoch must have ended since the cut was wanted.
        private func isAtBoundary(_ cut: StreamProxy.Cut?) -> Bool {
            if case .boundary(let wanted)? = cut { isAligned && (records == wanted || isMissed) } else { false }
        }
    }
}
