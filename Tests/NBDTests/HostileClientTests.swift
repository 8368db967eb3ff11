import Glibc
import NBDTestExports
import Testing

@testable import NBD

/// Recorded sessions, changed by seeded chance, against a server that others use meanwhile.
@Suite(.serialized) struct HostileClientTests {
    private static let seconds = getenv("UNDERSTUDY_FUZZ_SECONDS").flatMap { Int(String(cString: $0)) } ?? 5

    /// What well-behaved clients send: all options and all commands.
    private static let sessions: [[UInt8]] = {
        var whole: [UInt8] = []
        whole.append(bigEndian: UInt32(3))
        func option(_ number: UInt32, _ data: [UInt8], into bytes: inout [UInt8]) {
            bytes.append(bigEndian: Wire.optionMagic)
            bytes.append(bigEndian: number)
            bytes.append(bigEndian: UInt32(data.count))
            bytes += data
        }
        for (number, data): (UInt32, [UInt8]) in [
            (3, []), (5, []), (8, []), (9, RawClient.query("disk", ["base:"])), (10, RawClient.query("disk", ["base:allocation", "x:y"])),
            (6, RawClient.choice("disk", [0, 1, 2, 3])),
        ] { option(number, data, into: &whole) }
        var named = whole
        option(1, Array("disk".utf8), into: &named)
        option(7, RawClient.choice("disk", [3]), into: &whole)
        var requests: [UInt8] = []
        for (type, flags, offset, length): (UInt16, UInt16, UInt64, UInt32) in [
            (0, 0, 0, 512), (1, 1, 4096, 64), (3, 0, 0, 0), (0, 4, 4090, 80), (6, 2, 8192, 4096), (4, 0, 0, 4096), (7, 0, 0, 65536),
            (7, 8, 0, 4096),
            (1, 0, 0, 4096), (5, 0, 0, 1), (2, 0, 0, 0),
        ] {
            requests.append(bigEndian: Wire.requestMagic)
            requests.append(bigEndian: flags)
            requests.append(bigEndian: type)
            requests.append(bigEndian: UInt64(requests.count))
            requests.append(bigEndian: offset)
            requests.append(bigEndian: length)
            if type == 1 { requests += [UInt8](repeating: 0x5a, count: Int(length)) }
        }
        return [whole + requests, named + requests]
    }()

    private static func mutate(_ session: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
        var bytes = session
        for _ in 0..<Int.random(in: 1...5, using: &random) where !bytes.isEmpty {
            let place = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: bytes[place] = [0, 1, 0x7f, 0x80, 0xff].randomElement(using: &random)!
            case 2: for next in place..<min(bytes.count, place + 4) { bytes[next] = 0xff }
            case 3: bytes.insert(contentsOf: (0..<Int.random(in: 1...9, using: &random)).map { UInt8($0) }, at: place)
            case 4: bytes.removeSubrange(place..<min(bytes.count, place + Int.random(in: 1...9, using: &random)))
            default: bytes.removeLast(Int.random(in: 0...min(bytes.count, 400), using: &random))
            }
        }
        return bytes
    }

    @Test func mutatedSessionsNeverHurtTheServerOrOthers() throws {
        let export = MemoryExport(name: "disk", byteCount: 1 << 20)
        let precious = RecordingExport(name: "precious", byteCount: 4096)
        let server = try TestServer([export, precious])
        let other = try RawClient(server.path, export: "precious")
        let seed = getenv("UNDERSTUDY_FUZZ_SEED").flatMap { UInt64(String(cString: $0)) } ?? UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let end = ContinuousClock.now.advanced(by: .seconds(Self.seconds))
        var sent = 0
        while ContinuousClock.now < end {
            let session = Self.mutate(Self.sessions.randomElement(using: &random)!, &random)
            let socket = try StreamSocket.connect(path: server.path)
            try socket.setTimeout(.seconds(20))
            // The server may hang up in the middle.
            if (try? socket.send(session)) != nil {
                shutdown(socket.descriptor, CInt(SHUT_WR))
                var answer = [UInt8](repeating: 0, count: 65536)
                while recv(socket.descriptor, &answer, answer.count, 0) > 0 {}
            }
            sent += 1
            if sent % 100 == 0 { #expect(try other.isUsable()) }
        }
        print("\(sent) sessions")
        try Tool.eventually("all but one are gone") { server.server.connectionCount == 1 }
        #expect(try other.isUsable())
        #expect(precious.bytes.allSatisfy { $0 == 0 })
        #expect(try RawClient(server.path, export: "disk").isUsable())
    }

    /// Options straight into the negotiation, many more than over sockets.
    @Test func mutatedOptionsNeverCrash() {
        var random = SeededGenerator(seed: 4)
        let exports: [any NBDExport] = [RecordingExport(byteCount: 4096)]
        let seeds: [[UInt8]] = [
            RawClient.choice("disk", [0, 1, 3]), RawClient.query("disk", ["base:allocation"]), RawClient.query("disk", []),
            Array("disk".utf8), [],
        ]
        for _ in 0..<50_000 {
            guard var negotiation = Negotiation(exports: exports, clientFlags: 3) else { return }
            var replies: [UInt8] = []
            for _ in 0..<4 {
                var data = seeds.randomElement(using: &random)!
                if !data.isEmpty, Bool.random(using: &random) { data = Self.mutate(data + [0], &random) }
                let option = UInt32.random(in: 0...12, using: &random)
                let outcome = data.withUnsafeBytes { negotiation.answer(option, $0, into: &replies) }
                guard case .goOn = outcome else { break }
            }
            #expect(replies.count < 100_000)
        }
    }
}
