import Testing

@testable import Demonstration

@Suite struct DiskVerdictTests {
    /// A flawless run whose guest had a disk: the journal holds what the chain holds.
    private var fixture: HistoryFixture {
        var fixture = HistoryFixture()
        fixture.run.disk = DiskRecord(journal: fixture.run.chain.records, isClean: true)
        return fixture
    }

    @Test func `a journal with every replied request once passes`() {
        #expect(fixture.verdict.disk == DiskVerdict(missing: 0, duplicated: 0, isClean: true))
        #expect(fixture.verdict.passed)
    }

    @Test func `a run without a disk is judged without one`() {
        #expect(HistoryFixture().verdict.disk == nil)
        #expect(HistoryFixture().verdict.passed)
        #expect(HistoryFixture().verdict.json.contains(#""disk":null,"passed":true"#))
    }

    @Test func `a replied request that the journal does not hold is missing`() {
        var fixture = fixture
        fixture.run.disk?.journal.remove(at: 40)
        #expect(fixture.verdict.disk == DiskVerdict(missing: 1, duplicated: 0, isClean: true))
        #expect(!fixture.verdict.passed)
    }

    @Test func `every replied request is missing from an empty journal`() {
        var fixture = fixture
        fixture.run.disk?.journal = []
        #expect(fixture.verdict.disk?.missing == fixture.run.chain.records.count)
    }

    @Test func `a record that is there twice is duplicated`() {
        var fixture = fixture
        fixture.run.disk?.journal.insert(fixture.run.chain.records[40], at: 41)
        #expect(fixture.verdict.disk == DiskVerdict(missing: 0, duplicated: 1, isClean: true))
        #expect(!fixture.verdict.passed)
    }

    @Test func `a request that was served anew is missing with the reply that its client has`() {
        var fixture = fixture
        fixture.run.disk?.journal[40].random.low ^= 1
        #expect(fixture.verdict.disk == DiskVerdict(missing: 1, duplicated: 0, isClean: true))
    }

    @Test func `a request that was served anew beside its first record is duplicated`() {
        var fixture = fixture
        var again = fixture.run.chain.records[40]
        again.random.low ^= 1
        fixture.run.disk?.journal.append(again)
        #expect(fixture.verdict.disk == DiskVerdict(missing: 0, duplicated: 1, isClean: true))
        #expect(!fixture.verdict.passed)
    }

    @Test func `a record of a request without a reply is no fault`() {
        var fixture = fixture
        for index in fixture.run.clients.indices { fixture.run.clients[index].replies.removeLast() }
        #expect(fixture.verdict.disk?.passed == true)
    }

    @Test func `a damaged file system fails the verdict`() {
        var fixture = fixture
        fixture.run.disk?.isClean = false
        #expect(!fixture.verdict.passed)
        #expect(fixture.verdict.json.hasSuffix(#""disk":{"missing":0,"duplicated":0,"fsck_clean":false},"passed":false}"#))
    }
}
