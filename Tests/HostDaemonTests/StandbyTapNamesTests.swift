import Testing

@testable import HostDaemon

@Suite struct StandbyTapNamesTests {
    private struct Failure: Error {}

    @Test func `every card keeps its tap's name where it is free`() throws {
        var names = StandbyTapNames()
        #expect(names.choose(for: "tap0", configured: nil, isTaken: { _ in false }) == "tap0")
        #expect(names.choose(for: "tap1", configured: "tap9", isTaken: { _ in false }) == "tap9")
        #expect(names.chosen == ["tap0": "tap0", "tap1": "tap9"])
    }

    @Test func `a name that is taken gets a prefix, and two cards never share one`() throws {
        var names = StandbyTapNames()
        let foreign: Set<String> = ["vm-guest-net-0", "vm-guest-net-1", "vm-guest-net-2", "us-short", "short"]
        let chosen = ["vm-guest-net-0", "vm-guest-net-1", "vm-guest-net-2", "short"].map { primary in
            names.choose(for: primary, configured: nil, isTaken: { foreign.contains($0) })
        }
        #expect(chosen == ["us-vm-guest-net", "us-vm-guest-n-2", "us-vm-guest-n-3", "us-short-2"])
        #expect(chosen.allSatisfy { $0!.utf8.count <= 15 })
    }

    /// What it is asked about may be cleared away, so it must never be asked about a tap of this very standby.
    @Test func `nobody is asked about a name that another card has`() throws {
        var names = StandbyTapNames()
        var asked: [String] = []
        for primary in ["tap0", "tap1"] {
            _ = names.choose(for: primary, configured: "same") {
                asked.append($0); return false
            }
        }
        #expect(asked == ["same", "us-same"])
    }

    @Test func `a hundred taken names are enough, and a failure to ask is passed on`() {
        var names = StandbyTapNames()
        #expect(names.choose(for: "tap0", configured: nil, isTaken: { _ in true }) == nil)
        #expect(throws: Failure.self) {
            try names.choose(for: "tap0", configured: nil) { (_: String) throws(Failure) -> Bool in throw Failure() }
        }
    }
}
