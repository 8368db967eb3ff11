// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

@Suite struct WireMessageTests {
    static let messages: [WireMessage] = [
        .hello(.init(role: .primary, base: SampleEpoch.identity)), .hello(.init(role: .backup, base: SampleEpoch.identity)),
        .epochBegin(.init(identity: SampleEpoch.identity, kind: .synchronisation(round: 9))),
        .epochBegin(.init(identity: SampleEpoch.identity, kind: .rehearsal)),
        .epochBegin(.init(identity: SampleEpoch.identity, kind: .checkpoint)),
        .epochEnd(.init(identity: SampleEpoch.identity, pageCount: 5, zeroCount: 2, deviceStateLength: 79_000, recordCount: 12)),
        .acknowledgement(SampleEpoch.identity), .refusal(.init(identity: SampleEpoch.identity, code: 3, message: "no room: größer")),
        .refusal(.init(identity: SampleEpoch.identity, code: 0, message: "")),
    ]

    static func decode(_ bytes: [UInt8]) throws(WireFormatError) -> WireMessage {
        try bytes.span.withUnsafeBytes { bytes throws(WireFormatError) in try WireMessage(decoding: bytes) }
    }

    @Test(arguments: messages) func `a message arrives as it was sent`(message: WireMessage) throws {
        #expect(try Self.decode(message.encoded) == message)
    }

    @Test(arguments: messages) func `a message with one byte less or more is refused`(message: WireMessage) {
        let bytes = message.encoded
        for count in 0..<bytes.count {
            #expect(throws: WireFormatError.self) { try Self.decode(Array(bytes[..<count])) }
        }
        #expect(throws: WireFormatError.self) { try Self.decode(bytes + [0]) }
    }

    @Test func `the layout is the documented one`() {
        let bytes = WireMessage.acknowledgement(EpochIdentity(generation: 1, sessionNonce: 2, epoch: 0x0304)).encoded
        let expected: [UInt8] = [
            6, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0,
        ]
        #expect(bytes == expected)
    }

    @Test func `another protocol version is refused by name`() {
        let message = WireMessage.hello(.init(protocolVersion: 1, role: .primary, base: SampleEpoch.identity))
        #expect { try Self.decode(message.encoded) } throws: { "\($0)".contains("version 1") }
    }

    @Test func `a refusal's text is cut at a character when it is too long`() throws {
        let text = String(repeating: "ö", count: 600)
        let message = WireMessage.refusal(.init(identity: SampleEpoch.identity, code: 1, message: text))
        guard case .refusal(let refusal) = try Self.decode(message.encoded) else {
            Issue.record("not a refusal")
            return
        }
        #expect(refusal.message == String(repeating: "ö", count: 512))
    }

    @Test func `a refusal whose text is not UTF-8 is refused`() {
        var bytes = WireMessage.refusal(.init(identity: SampleEpoch.identity, code: 1, message: "abc")).encoded
        bytes[bytes.count - 2] = 0xff
        #expect(throws: WireFormatError.self) { try Self.decode(bytes) }
    }

    @Test(arguments: 0..<8) func `random bytes never crash the decoder`(seed: UInt64) {
        var generator = WireFormatGenerator(seed: seed)
        for _ in 0..<2_000 {
            var bytes = (0..<Int.random(in: 0..<200, using: &generator)).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
            if bytes.count > 8, Bool.random(using: &generator) {
                bytes[0] = UInt8.random(in: 0...8, using: &generator)
                bytes.replaceSubrange(1..<8, with: [0, 0, 0, UInt8(bytes.count), 0, 0, 0])
            }
            if let message = try? Self.decode(bytes) { #expect(message.encoded == bytes, "only what is encoded so decodes") }
            #expect(throws: WireFormatError.self) { try stagedEpoch(bytes) { _ in } }
        }
    }

    @Test(arguments: 0..<8) func `a mutated epoch verifies only if its page list stays inside the blocks`(seed: UInt64) {
        var generator = WireFormatGenerator(seed: seed)
        let sample = SampleEpoch(runs: [(0, 0, [1, 0, 2]), (1, 4096, [0, 0, 5])], deviceState: Array(repeating: 1, count: 64))
        for _ in 0..<1_000 {
            var bytes = sample.bytes
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                // Half of the mutations hit the headers and tables, where they matter most.
                let limit = Bool.random(using: &generator) ? 96 : bytes.count
                let position = Int.random(in: 0..<limit, using: &generator)
                bytes[position] = UInt8.random(in: .min ... .max, using: &generator)
            }
            try? stagedEpoch(bytes) { epoch in
                for page in epoch.pages { #expect(page.offset + 4096 <= SampleEpoch.blockLengths[Int(page.block)]) }
                #expect(epoch.copiedPages.count == Int(epoch.end.pageCount))
            }
        }
    }
}
