import Testing

@testable import HostDaemon

@Suite struct HostAndPortTests {
    @Test func readsAddressesOfBothFamilies() {
        #expect(HostAndPort("10.0.0.1:7640")?.host == "10.0.0.1")
        #expect(HostAndPort("[fd00::1]:7641")?.host == "fd00::1")
        #expect(HostAndPort("[fd00::1]:7641")?.port == 7641)
    }

    @Test(arguments: ["", ":1", "host", "host:", "host:0", "host:65536", "host:x"])
    func refuses(_ text: String) {
        #expect(HostAndPort(text) == nil)
    }
}
