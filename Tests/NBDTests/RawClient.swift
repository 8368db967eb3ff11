import Glibc

@testable import NBD

/// A client that says exactly what a test wants it to.
final class RawClient {
    struct OptionReply: Equatable {
        let type: UInt32
        let data: [UInt8]
    }

    struct Chunk: Equatable {
        let flags: UInt16
        let type: UInt16
        let cookie: UInt64
        let data: [UInt8]
    }

    let socket: StreamSocket

    /// Connects and reads the greeting.
    init(_ path: String, flags: UInt32? = 3) throws {
        socket = try StreamSocket.connect(path: path)
        try socket.setTimeout(.seconds(60))
        guard try receive(18).starts(with: Array("NBDMAGICIHAVEOPT".utf8)) else { throw TestFailure("no greeting") }
        if let flags { try send { $0.append(bigEndian: flags) } }
    }

    /// One that has chosen the export and sends requests.
    convenience init(_ path: String, export: String, structured: Bool = true, contexts: [String] = []) throws {
        try self.init(path)
        if structured { _ = try option(8) }
        if !contexts.isEmpty { _ = try option(10, Self.query(export, contexts)) }
        guard try option(7, Self.choice(export)).last?.type == 1 else { throw TestFailure("no export \(export)") }
    }

    static func choice(_ export: String, _ information: [UInt16] = []) -> [UInt8] {
        var data: [UInt8] = []
        data.append(counted: export)
        data.append(bigEndian: UInt16(information.count))
        for number in information { data.append(bigEndian: number) }
        return data
    }

    static func query(_ export: String, _ queries: [String]) -> [UInt8] {
        var data: [UInt8] = []
        data.append(counted: export)
        data.append(bigEndian: UInt32(queries.count))
        for query in queries { data.append(counted: query) }
        return data
    }

    func send(_ build: (inout [UInt8]) -> Void) throws {
        var bytes: [UInt8] = []
        build(&bytes)
        try socket.send(bytes)
    }

    func receive(_ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        try span.withUnsafeMutableBytes { try socket.receiveRest(into: $0) }
        return bytes
    }

    /// Whether the server hung up; anything else that comes is an error.
    func isCut() throws -> Bool {
        var byte: UInt8 = 0
        return try withUnsafeMutableBytes(of: &byte) { bytes in
            let some = try socket.receive(into: bytes)
            if some { throw TestFailure("the server sent \(bytes[0])") }
            return true
        }
    }

    func option(_ number: UInt32, _ data: [UInt8] = [], length: UInt32? = nil) throws -> [OptionReply] {
        try send {
            $0.append(bigEndian: Wire.optionMagic)
            $0.append(bigEndian: number)
            $0.append(bigEndian: length ?? UInt32(data.count))
            $0 += data
        }
        var replies: [OptionReply] = []
        repeat {
            let header = try receive(20)
            let (magic, option, type, length) = header.withUnsafeBytes { bytes in
                var reader = WireReader(bytes)
                return (reader.next(UInt64.self)!, reader.next(UInt32.self)!, reader.next(UInt32.self)!, reader.next(UInt32.self)!)
            }
            guard magic == Wire.optionReplyMagic, option == number else { throw TestFailure("a wrong reply: \(header)") }
            replies.append(OptionReply(type: type, data: try receive(Int(length))))
        } while replies.last!.type != 1 && replies.last!.type < 0x8000_0000
        return replies
    }

    func request(
        _ type: UInt16, flags: UInt16 = 0, cookie: UInt64 = 7, at offset: UInt64 = 0, length: UInt32 = 0, payload: [UInt8] = []
    ) throws {
        try send {
            $0.append(bigEndian: Wire.requestMagic)
            $0.append(bigEndian: flags)
            $0.append(bigEndian: type)
            $0.append(bigEndian: cookie)
            $0.append(bigEndian: offset)
            $0.append(bigEndian: length)
            $0 += payload
        }
    }

    /// The error number of a simple reply.
    func simple(cookie: UInt64 = 7) throws -> UInt32 {
        let header = try receive(16)
        return try header.withUnsafeBytes { bytes in
            var reader = WireReader(bytes)
            guard reader.next(UInt32.self) == Wire.simpleReplyMagic, let error: UInt32 = reader.next(), reader.next(UInt64.self) == cookie
            else {
                throw TestFailure("no simple reply: \(header)")
            }
            return error
        }
    }

    func chunk() throws -> Chunk {
        let header = try receive(20)
        let (chunk, length) = try header.withUnsafeBytes { bytes in
            var reader = WireReader(bytes)
            guard reader.next(UInt32.self) == Wire.structuredReplyMagic else { throw TestFailure("no chunk: \(header)") }
            return (
                Chunk(flags: reader.next()!, type: reader.next()!, cookie: reader.next()!, data: []), reader.next(UInt32.self)!
            )
        }
        return Chunk(flags: chunk.flags, type: chunk.type, cookie: chunk.cookie, data: try receive(Int(length)))
    }

    /// The error number of a reply by chunk.
    func chunkError() throws -> UInt32 {
        let chunk = try chunk()
        guard chunk.type == 0x8001, chunk.flags == 1 else { throw TestFailure("no error: \(chunk)") }
        return chunk.data[..<4].reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// Whether the connection still does what it should.
    func isUsable() throws -> Bool {
        try request(3, cookie: 99)
        return try simple(cookie: 99) == 0
    }
}
