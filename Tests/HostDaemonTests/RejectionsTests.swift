import HostAPI
import Links
import Logging
import Testing

@testable import HostDaemon

/// Whoever connects in vain must not push what matters out of the event list.
@Suite struct RejectionsTests {
    private func makeRejections() -> (Rejections, EventLog) {
        let events = EventLog(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        return (Rejections(events: events), events)
    }

    @Test func `a flood is one line a second, which counts the others`() {
        let (rejections, events) = makeRejections()
        let error = LinkError(.tls, "no TLS")
        for index in 0..<1_000 as Range<UInt64> { rejections.record(error, from: "a", now: 5 + index) }
        #expect(events.past.map(\.message) == ["rejected a connection from a: no TLS"])
        rejections.record(error, from: "b", now: 1_000_000_005)
        #expect(events.past.last?.message == "rejected a connection from b: no TLS (999 more of this kind since the last such line)")
        rejections.record(error, from: "c", now: 3_000_000_005)
        #expect(events.past.last?.message == "rejected a connection from c: no TLS")
    }

    @Test func `another kind is told at once`() {
        let (rejections, events) = makeRejections()
        rejections.record(LinkError(.tls, "no TLS"), from: "a", now: 5)
        rejections.record(LinkError(.wrongPeer, "names gamma"), from: "a", now: 6)
        #expect(events.past.count == 2)
    }
}
