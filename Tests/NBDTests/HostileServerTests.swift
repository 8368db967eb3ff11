import Glibc
import LinuxShim
import Testing

@testable import NBD

/// Servers that lie to the client.
@Suite(.serialized) struct HostileServerTests {
    private static let size = 1 << 20
    private static let greeting = Array("NBDMAGICIHAVEOPT".utf8) + [0, 3]

    private static func reply(_ option: UInt32, _ type: UInt32, _ data: [UInt8] = []) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(bigEndian: Wire.optionReplyMagic)
        bytes.append(bigEndian: option)
        bytes.append(bigEndian: type)
        bytes.append(bigEndian: UInt32(data.count))
        return bytes + data
    }

    private static let export: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 1]
    /// What an honest server says until the client has its export, with the context `base:allocation` as number 5.
    private static let haggling =
        greeting + reply(8, 1) + reply(10, 4, [0, 0, 0, 5] + Array("base:allocation".utf8)) + reply(10, 1) + reply(7, 3, export)
        + reply(7, 1)

    private static func chunk(_ type: UInt16, cookie: UInt64 = 1, flags: UInt16 = 1, length: UInt32? = nil, _ data: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(bigEndian: Wire.structuredReplyMagic)
        bytes.append(bigEndian: flags)
        bytes.append(bigEndian: type)
        bytes.append(bigEndian: cookie)
        bytes.append(bigEndian: length ?? UInt32(data.count))
        return bytes + data
    }

    private static func data(at offset: UInt8, _ count: Int) -> [UInt8] {
        [0, 0, 0, 0, 0, 0, 0, offset] + [UInt8](repeating: 9, count: count)
    }

    /// What the client does with a server that says `speech`, whatever it is asked.
    private func outcome(_ speech: [UInt8], _ body: (NBDClient) throws -> Void) throws -> NBDError.Code? {
        let folder = try ScratchFolder()
        let path = "\(folder.path)/s"
        let listener = understudy_listen_unix(path, 4)
        guard listener >= 0 else { throw TestFailure("listen: \(listener)") }
        defer { close(listener) }
        let thread = try ConnectionThread(name: "hostile") {
            let descriptor = accept(listener, nil, nil)
            guard descriptor >= 0 else { return }
            let socket = StreamSocket(descriptor)
            try? socket.send(speech)
            shutdown(descriptor, CInt(SHUT_WR))
            var rest = [UInt8](repeating: 0, count: 4096)
            while recv(descriptor, &rest, rest.count, 0) > 0 {}
        }
        defer { thread.join() }
        do {
            let client = try NBDClient(socketPath: path, exportName: "disk", contexts: ["base:allocation"], timeout: .seconds(20))
            defer { client.cut() }
            try body(client)
            return nil
        } catch let error as NBDError {
            return error.code
        }
    }

    private func read(_ client: NBDClient) throws {
        var bytes = [UInt8](repeating: 0, count: 16)
        var span = bytes.mutableSpan
        try span.withUnsafeMutableBytes { try client.read(into: $0, at: 0) }
        #expect(bytes.allSatisfy { $0 == 9 || $0 == 0 })
    }

    @Test func anHonestServerIsUnderstood() throws {
        #expect(try outcome(Self.haggling + Self.chunk(1, Self.data(at: 0, 16)), read) == nil)
        let parts = Self.chunk(1, flags: 0, Self.data(at: 0, 4)) + Self.chunk(2, flags: 0, [0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 4])
        #expect(try outcome(Self.haggling + parts + Self.chunk(1, flags: 0, Self.data(at: 8, 8)) + Self.chunk(0, []), read) == nil)
        let status = Self.chunk(5, [0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1, 255, 255, 255, 255, 0, 0, 0, 0])
        let whole = try outcome(Self.haggling + status) { client in
            let extents = try client.blockStatus(context: "base:allocation", at: 0, length: 16)
            #expect(extents == [NBDExtent(length: 8, flags: 1), NBDExtent(length: 8, flags: 0)])
        }
        #expect(whole == nil)
    }

    private static let lies: [(String, [UInt8])] = [
        ("no magic", [UInt8](repeating: 7, count: 200)),
        ("another request", chunk(1, cookie: 2, data(at: 0, 16))),
        ("too much", chunk(1, data(at: 0, 17))),
        ("far too much", chunk(1, length: .max, data(at: 0, 64))),
        ("too little", chunk(1, data(at: 0, 15))),
        ("nothing", chunk(1, data(at: 0, 0))),
        ("elsewhere", chunk(1, data(at: 1, 15))),
        ("twice", chunk(1, flags: 0, data(at: 0, 16)) + chunk(1, data(at: 0, 16))),
        ("overlapping", chunk(1, flags: 0, data(at: 0, 8)) + chunk(1, data(at: 0, 8))),
        ("a huge hole", chunk(2, [0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255])),
        ("an empty hole", chunk(2, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("a torn hole", chunk(2, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("an empty end", chunk(0, [])),
        ("an end with data", chunk(0, [1])),
        ("nothing, not the end", chunk(0, flags: 0, [])),
        ("a status", chunk(5, [0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1])),
        ("an unknown kind", chunk(77, [1, 2, 3])),
        ("a torn error", chunk(0x8001, [0, 0, 0, 5, 255, 255])),
        ("a short error", chunk(0x8001, [0, 0])),
        ("a huge error", chunk(0x8001, length: 1 << 30, [])),
        ("error 0", chunk(0x8001, [0, 0, 0, 0, 0, 0])),
        ("endless errors", (0..<70).flatMap { _ in chunk(0x8001, flags: 0, [0, 0, 0, 5, 0, 0]) }),
    ]

    @Test(arguments: lies) func aLieAboutAReadEndsTheConnection(what: String, speech: [UInt8]) throws {
        let code = try outcome(Self.haggling + speech) { client in
            let first = #expect(throws: NBDError.self) { try read(client) }
            #expect(#expect(throws: NBDError.self) { try read(client) }?.message == first?.message)
            if let first { throw first }
        }
        #expect(code == .protocolViolation, "\(what)")
    }

    private static let statusLies: [(String, [UInt8])] = [
        ("another context", chunk(5, [0, 0, 0, 6, 0, 0, 0, 8, 0, 0, 0, 1])),
        ("an empty extent", chunk(5, [0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1])),
        ("torn", chunk(5, [0, 0, 0, 5, 0, 0, 0, 8, 0, 0])),
        ("no extent", chunk(5, [0, 0, 0, 5])),
        ("a huge status", chunk(5, length: 0xffff_fffc, [])),
        ("twice", chunk(5, flags: 0, [0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1]) + chunk(5, [0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1])),
        ("none at all", chunk(0, [])), ("data", chunk(1, data(at: 0, 16))),
    ]

    @Test(arguments: statusLies) func aLieAboutTheStatusEndsTheConnection(what: String, speech: [UInt8]) throws {
        let code = try outcome(Self.haggling + speech) { _ = try $0.blockStatus(context: "base:allocation", at: 0, length: 16) }
        #expect(code == .protocolViolation, "\(what)")
    }

    @Test(arguments: [
        ("no NBD", Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8), NBDError.Code.protocolViolation),
        (
            "oldstyle", Array("NBDMAGIC".utf8) + [0, 0, 0x42, 2, 0x81, 0x86, 0x12, 0x53] + [UInt8](repeating: 0, count: 136),
            .protocolViolation
        ),
        ("half a greeting", Array("NBDMAGICIHAVE".utf8), .truncated),
        ("not fixed", Array("NBDMAGICIHAVEOPT".utf8) + [0, 2], .protocolViolation),
        ("no structured replies", greeting + reply(8, 0x8000_0001, Array("no".utf8)), .refused),
        ("another option", greeting + reply(3, 1), .protocolViolation),
        ("an unasked context", greeting + reply(8, 1) + reply(10, 4, [0, 0, 0, 5] + Array("x:y".utf8)), .protocolViolation),
        ("no context", greeting + reply(8, 1) + reply(10, 1), .refused),
        (
            "no information",
            greeting + reply(8, 1) + reply(10, 4, [0, 0, 0, 5] + Array("base:allocation".utf8)) + reply(10, 1) + reply(7, 1),
            .protocolViolation
        ),
        ("silence", greeting, .truncated),
    ]) func aLieInTheHandshakeIsAnError(what: String, speech: [UInt8], code: NBDError.Code) throws {
        #expect(try outcome(speech) { _ in } == code, "\(what)")
    }

    @Test func endlessOrEnormousRepliesAreErrors() throws {
        var huge = Self.reply(8, 1)
        huge.replaceSubrange(16..<20, with: [255, 255, 255, 255])
        #expect(try outcome(Self.greeting + huge) { _ in } == .protocolViolation)
        let endless = (0..<2000).flatMap { _ in Self.reply(8, 3) }
        #expect(try outcome(Self.greeting + endless) { _ in } == .protocolViolation)
    }

    @Test func aSilentServerIsATimeout() throws {
        let folder = try ScratchFolder()
        let listener = understudy_listen_unix("\(folder.path)/s", 4)
        defer { close(listener) }
        let error = #expect(throws: NBDError.self) {
            try NBDClient(socketPath: "\(folder.path)/s", exportName: "", timeout: .milliseconds(200))
        }
        #expect(error?.code == .timeout)
    }

    /// Whatever is said: an error or an answer, never a crash, never bytes outside the buffer, never an endless wait.
    @Test(arguments: 0..<8) func mutatedSpeechesNeverCrash(seed: Int) throws {
        var random = SeededGenerator(seed: UInt64(seed))
        let speech = Self.haggling + Self.chunk(1, Self.data(at: 0, 16)) + Self.chunk(5, cookie: 2, [0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1])
        for _ in 0..<150 {
            var mutated = speech
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                mutated[Int.random(in: 0..<mutated.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if Int.random(in: 0..<4, using: &random) == 0 { mutated.removeLast(Int.random(in: 0..<mutated.count, using: &random)) }
            _ = try outcome(mutated) { client in
                guard client.byteCount >= 16 else { return }
                withUnsafeTemporaryAllocation(byteCount: 48, alignment: 16) { space in
                    space.initializeMemory(as: UInt8.self, repeating: 0x77)
                    _ = try? client.read(into: UnsafeMutableRawBufferPointer(rebasing: space[16..<32]), at: 0)
                    #expect(space[..<16].allSatisfy { $0 == 0x77 } && space[32...].allSatisfy { $0 == 0x77 })
                }
                _ = try client.blockStatus(context: "base:allocation", at: 0, length: 16)
            }
        }
    }
}
