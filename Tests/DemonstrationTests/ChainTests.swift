import Testing

@testable import Demonstration

@Suite struct ChainTests {
    @Test func `SHA-256 gives the published digests`() {
        // FIPS 180-4 and the NIST example values, for messages of whole 64-bit words.
        #expect(
            SHA256.digest(words: [])
                == Digest(0xe3b0_c442_98fc_1c14, 0x9afb_f4c8_996f_b924, 0x27ae_41e4_649b_934c, 0xa495_991b_7852_b855))
        // NIST's 56-byte message "abcdbcdecdef...nopq".
        let text = Array("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8)
        let words = stride(from: 0, to: text.count, by: 8).map { text[$0..<$0 + 8].reduce(UInt64(0)) { $0 << 8 | UInt64($1) } }
        #expect(
            SHA256.digest(words: words)
                == Digest(0x248d_6a61_d206_38b8, 0xe5c0_2693_0c3e_6039, 0xa33c_e459_64ff_2167, 0xf6ec_edd4_19db_06c1))
    }

    @Test func `a reply whose random differs is a violation`() {
        var fixture = HistoryFixture()
        fixture.run.clients[2].replies[30].random.low ^= 1
        #expect(fixture.verdict.chainViolations == 1)
    }

    @Test func `a reply whose digest differs is a violation`() {
        var fixture = HistoryFixture()
        fixture.run.clients[1].replies[30].digest = .zero
        #expect(fixture.verdict.chainViolations == 1)
    }

    @Test func `a reply whose counter belongs to another request is a violation`() {
        var fixture = HistoryFixture()
        fixture.run.clients[0].replies[30].counter += 1
        #expect(fixture.verdict.chainViolations == 1)
    }

    @Test func `a reply with a counter beyond the survivor's head is a violation`() {
        var fixture = HistoryFixture()
        fixture.run.clients[3].replies[99].counter += 1000
        #expect(fixture.verdict.chainViolations == 1)
    }

    /// What a leaked reply looks like: the client saw it, the survivor never served it.
    @Test func `replies of a history that the survivor does not share are violations`() {
        var fixture = HistoryFixture()
        let kept = Array(fixture.run.chain.records.prefix(380))
        fixture.run.chain = SurvivorChain(records: kept, head: kept.reduce(Digest.zero) { $1.digest(after: $0) })
        #expect(fixture.verdict.chainViolations == 20)
        #expect(!fixture.verdict.passed)
    }

    @Test func `a survivor that served the same counters with other randoms is seen in every later reply`() {
        var fixture = HistoryFixture()
        var records = fixture.run.chain.records
        for index in 200..<records.count { records[index].random.high ^= 0xff }
        fixture.run.chain = SurvivorChain(records: records, head: records.reduce(Digest.zero) { $1.digest(after: $0) })
        #expect(fixture.verdict.chainViolations == 200)
    }

    @Test func `a hole in the survivor's chain is a violation`() {
        var fixture = HistoryFixture()
        fixture.run.clients = []
        fixture.run.chain.records.remove(at: 50)
        #expect(fixture.verdict.chainViolations >= 1)
    }

    @Test func `a head that does not follow from the records is a violation`() {
        var fixture = HistoryFixture()
        fixture.run.clients = []
        #expect(fixture.verdict.chainViolations == 0)
        fixture.run.chain.head = Digest(1, 2, 3, 4)
        #expect(fixture.verdict.chainViolations == 1)
    }

    @Test func `a foreign reply is a violation`() {
        var fixture = HistoryFixture()
        fixture.run.clients[2].foreignReplies = 1
        #expect(fixture.verdict.chainViolations == 1)
    }

    @Test func `a chain whose oldest records were dropped still proves the rest`() {
        var fixture = HistoryFixture()
        let records = fixture.run.chain.records
        fixture.run.chain.base = records.prefix(40).reduce(Digest.zero) { $1.digest(after: $0) }
        fixture.run.chain.records.removeFirst(40)
        for index in fixture.run.clients.indices {
            fixture.run.clients[index].replies.removeFirst(10)
            fixture.run.clients[index].sentAt = fixture.run.clients[index].sentAt
        }
        #expect(fixture.verdict.chainViolations == 0)
    }
}
