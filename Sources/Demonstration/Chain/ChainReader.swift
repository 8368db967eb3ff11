import Glibc

/// Fetches the guest's whole log, page by page, up to the head that its first answer names.
struct ChainReader {
    private let socket: Int32

    static func fetch(in host: LabHost) throws(DemonstrationError) -> SurvivorChain {
        try host.run { () throws(DemonstrationError) in
            guard let socket = ClientSocket.connect(to: LabAddresses.guest, port: ServiceProtocol.chainPort, milliseconds: 10_000) else {
                throw DemonstrationError(.timeout, "the guest's chain service at \(LabAddresses.guest) does not answer")
            }
            defer { close(socket) }
            return try ChainReader(socket: socket).fetch()
        }
    }

    private func fetch() throws(DemonstrationError) -> SurvivorChain {
        let first = try page(from: 1)
        var records = first.records
        while records.last.map(\.counter) ?? 0 < first.last {
            let next = try page(from: (records.last?.counter ?? 0) + 1)
            guard !next.records.isEmpty, next.oldest == first.oldest, next.head == first.head else {
                throw DemonstrationError(.guestProtocol, "the guest's chain changed while it was read: stop every client first")
            }
            records += next.records
        }
        return SurvivorChain(base: first.base, records: records, head: first.head)
    }

    private struct Page {
        let oldest: UInt64
        let last: UInt64
        let base: Digest
        let head: Digest
        let records: [ChainRecord]
    }

    private func page(from counter: UInt64) throws(DemonstrationError) -> Page {
        let query = ServiceProtocol.chainQuery(from: counter, maximum: 1024)
        guard send(socket, query, query.count, Int32(MSG_NOSIGNAL)) == query.count else {
            throw LabSystem.failure(.network, "cannot ask the guest for its chain")
        }
        let header = try receive(ServiceProtocol.pageHeaderLength)[...]
        let count = ServiceProtocol.word(header, 16)
        guard count <= 1024 else { throw DemonstrationError(.guestProtocol, "the guest announced a page of \(count) records") }
        let length = ServiceProtocol.recordLength
        let body = try receive(Int(count) * length)
        return Page(
            oldest: ServiceProtocol.word(header, 0), last: ServiceProtocol.word(header, 8),
            base: ServiceProtocol.digest(header, 24), head: ServiceProtocol.digest(header, 56),
            records: (0..<Int(count)).map { ServiceProtocol.record(body[$0 * length..<($0 + 1) * length]) })
    }

    private func receive(_ length: Int) throws(DemonstrationError) -> [UInt8] {
        var bytes = [UInt8]()
        var buffer = [UInt8](repeating: 0, count: 65536)
        while bytes.count < length {
            guard ClientSocket.wait(socket, for: POLLIN, milliseconds: 10_000) else {
                throw DemonstrationError(.timeout, "the guest did not send its chain within 10 s")
            }
            let count = recv(socket, &buffer, min(buffer.count, length - bytes.count), 0)
            if count < 0, errno == EAGAIN || errno == EINTR { continue }
            guard count > 0 else { throw LabSystem.failure(.network, "the connection to the guest's chain service broke") }
            bytes += buffer[..<count]
        }
        return bytes
    }
}
