import Glibc

/// Asks the guest about its disks: one query, one answer.
enum DiskService {
    /// - Parameter checking: first compare the whole disk with what the guest remembers.
    static func blocks(in host: LabHost, guest: String, checking: Bool) throws(DemonstrationError) -> BlockState {
        let answer = try ask(
            host, guest, port: ServiceProtocol.blocksPort, order: checking, length: ServiceProtocol.blockStateLength, "block writers")
        let first = ServiceProtocol.word(answer, 32)
        return BlockState(
            written: ServiceProtocol.word(answer, 0), wrong: ServiceProtocol.word(answer, 8), checked: ServiceProtocol.word(answer, 16),
            wrongInCheck: ServiceProtocol.word(answer, 24), firstWrong: first == .max ? nil : first)
    }

    /// - Returns: records in the journal.
    static func endJournal(in host: LabHost, guest: String) throws(DemonstrationError) -> Int {
        let answer = try ask(
            host, guest, port: ServiceProtocol.journalPort, order: true, length: ServiceProtocol.journalStateLength, "journal")
        guard ServiceProtocol.word(answer, 8) == 1 else { throw DemonstrationError(.guestProtocol, "the guest did not end its journal") }
        return Int(truncatingIfNeeded: ServiceProtocol.word(answer, 0))
    }

    /// - Returns: writes per second.
    static func load(in host: LabHost, guest: String, _ load: DiskLoad, milliseconds: UInt64) throws(DemonstrationError) -> Double {
        let answer = try ask(
            host, guest, port: ServiceProtocol.loadPort, query: ServiceProtocol.loadQuery(load, milliseconds: milliseconds),
            length: ServiceProtocol.loadAnswerLength, "disk load")
        let (writes, nanoseconds) = (ServiceProtocol.word(answer, 0), ServiceProtocol.word(answer, 8))
        guard writes > 0, nanoseconds > 0 else { throw DemonstrationError(.guestProtocol, "the guest's disk load wrote nothing") }
        return Double(writes) / Double(nanoseconds) * 1e9
    }

    private static func ask(
        _ host: LabHost, _ guest: String, port: UInt16, order: Bool, length: Int, _ what: String
    ) throws(DemonstrationError) -> ArraySlice<UInt8> {
        try ask(host, guest, port: port, query: ServiceProtocol.diskQuery(order: order), length: length, what)
    }

    private static func ask(
        _ host: LabHost, _ guest: String, port: UInt16, query: [UInt8], length: Int, _ what: String
    ) throws(DemonstrationError) -> ArraySlice<UInt8> {
        try host.run { () throws(DemonstrationError) in
            guard let socket = ClientSocket.connect(to: guest, port: port, milliseconds: 10_000) else {
                throw DemonstrationError(.timeout, "the guest's \(what) at \(guest):\(port) do not answer")
            }
            defer { close(socket) }
            guard send(socket, query, query.count, Int32(MSG_NOSIGNAL)) == query.count else {
                throw LabSystem.failure(.network, "cannot ask the guest's \(what)")
            }
            return try receive(length, from: socket, what)[...]
        }
    }

    private static func receive(_ length: Int, from socket: Int32, _ what: String) throws(DemonstrationError) -> [UInt8] {
        var bytes = [UInt8]()
        var buffer = [UInt8](repeating: 0, count: length)
        while bytes.count < length {
            guard ClientSocket.wait(socket, for: POLLIN, milliseconds: 60_000) else {
                throw DemonstrationError(.timeout, "the guest's \(what) did not answer within a minute")
            }
            let count = recv(socket, &buffer, length - bytes.count, 0)
            if count < 0, errno == EAGAIN || errno == EINTR { continue }
            guard count > 0 else { throw LabSystem.failure(.network, "the connection to the guest's \(what) broke") }
            bytes += buffer[..<count]
        }
        return bytes
    }
}
