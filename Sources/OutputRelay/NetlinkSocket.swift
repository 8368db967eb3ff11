import Glibc
import LinuxShim

/// One conversation with rtnetlink in the calling thread's network namespace.
struct NetlinkSocket {
    private let descriptor: FileDescriptor
    private var sequence: UInt32 = 0

    init() throws(OutputRelayError) {
        let number = socket(AF_NETLINK, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { throw .kernel("opening rtnetlink", "socket", errno) }
        descriptor = FileDescriptor(number)
        var timeout = timeval(tv_sec: 10, tv_usec: 0)
        let limited = setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        guard limited == 0 else { throw .kernel("opening rtnetlink", "setsockopt", errno) }
    }

    /// The answers to a request about links: the fixed part's index, and the attributes.
    mutating func links(
        named name: String? = nil, index: Int32 = 0, dump: Bool = false, _ what: String
    ) throws(OutputRelayError) -> [(index: Int32, flags: UInt32, attributes: NetlinkAttributes)] {
        let flags = NetlinkMessage.Flag.request | (dump ? NetlinkMessage.Flag.dump : NetlinkMessage.Flag.acknowledge)
        var message = NetlinkMessage.link(.getLink, flags: flags, sequence: nextSequence(), index: index)
        if let name { message.attribute(3, name) }
        return try exchange(message, what).filter { $0.count >= 16 }.map { body in
            let start = body.startIndex
            return (
                NetlinkAttributes.integer(body[(start + 4)...]), NetlinkAttributes.integer(body[(start + 8)...]),
                NetlinkAttributes(body[(start + 16)...])
            )
        }
    }

    /// Changes the interface `index` as `fill` says.
    mutating func change(
        _ index: Int32, up: Bool? = nil, _ what: String, _ fill: (inout NetlinkMessage) -> Void = { _ in }
    ) throws(OutputRelayError) {
        var message = NetlinkMessage.link(.newLink, flags: acknowledged, sequence: nextSequence(), index: index, up: up)
        fill(&message)
        _ = try exchange(message, what)
    }

    /// Turns off the address generation of IPv6 on the interface, so that the kernel does not speak on it. No IPv6 is no error.
    mutating func silenceIPv6(_ index: Int32) throws(OutputRelayError) {
        do throws(OutputRelayError) {
            try change(index, "turning IPv6 off on interface \(index)") { message in
                message.nested(26) { family in family.nested(10) { $0.attribute(8, UInt8(1)) } }
            }
        } catch  where error.systemCallNumber == EAFNOSUPPORT || error.systemCallNumber == EOPNOTSUPP {
            return
        }
    }

    /// Deletes the interface `index`; one that has gone is no error.
    mutating func delete(_ index: Int32, _ what: String) throws(OutputRelayError) {
        let message = NetlinkMessage.link(.deleteLink, flags: acknowledged, sequence: nextSequence(), index: index)
        do throws(OutputRelayError) {
            _ = try exchange(message, what)
        } catch  where error.systemCallNumber == ENODEV {
            return
        }
    }

    /// Takes the queueing discipline away: frames go straight to the driver, so that what was sent is readable at once.
    mutating func removeQueueing(_ index: Int32) throws(OutputRelayError) {
        let flags = acknowledged | NetlinkMessage.Flag.create | NetlinkMessage.Flag.replace
        var message = NetlinkMessage(.newQueueingDiscipline, flags: flags, sequence: nextSequence())
        message.append(UInt32(0))
        message.append(index)
        message.append(UInt32(0))
        message.append(UInt32.max)
        message.append(UInt32(0))
        message.attribute(1, "noqueue")
        _ = try exchange(message, "removing the queue of interface \(index)")
    }

    private var acknowledged: UInt16 { NetlinkMessage.Flag.request | NetlinkMessage.Flag.acknowledge }

    private mutating func nextSequence() -> UInt32 {
        sequence += 1
        return sequence
    }

    private func exchange(_ message: NetlinkMessage, _ what: String) throws(OutputRelayError) -> [ArraySlice<UInt8>] {
        var message = message
        let request = message.finished()
        guard send(descriptor.number, request, request.count, 0) == request.count else { throw .kernel(what, "send(netlink)", errno) }
        var answers: [ArraySlice<UInt8>] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        while true {
            let count = recv(descriptor.number, &buffer, buffer.count, 0)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw .kernel(what, "recv(netlink)", errno) }
            if try collect(Array(buffer[..<count]), into: &answers, what) { return answers }
        }
    }

    /// Takes the messages of one datagram; true when the conversation is over.
    private func collect(_ bytes: [UInt8], into answers: inout [ArraySlice<UInt8>], _ what: String) throws(OutputRelayError) -> Bool {
        var place = 0
        while place + 16 <= bytes.count {
            let length = Int(NetlinkAttributes.integer(bytes[place...], as: UInt32.self))
            guard length >= 16, place + length <= bytes.count else { throw .kernel(what, "recv(netlink)", EBADMSG) }
            let body = bytes[(place + 16)..<(place + length)]
            let type: UInt16 = NetlinkAttributes.integer(bytes[(place + 4)...])
            let number: UInt32 = NetlinkAttributes.integer(bytes[(place + 8)...])
            place += (length + 3) & ~3
            guard number == sequence else { continue }
            switch type {
            case 2:
                let result: Int32 = NetlinkAttributes.integer(body)
                guard result == 0 else { throw .kernel(what, "rtnetlink", -result) }
                return true
            case 3: return true
            default: answers.append(body)
            }
        }
        return false
    }
}
