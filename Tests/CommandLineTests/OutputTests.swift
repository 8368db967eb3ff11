import HostAPI
import Testing

@testable import understudy

@Suite struct OutputTests {
    @Test func `a message of several lines is one line of events`() {
        #expect(Output.oneLine("vm cannot be protected:\n  - no tap\r\n") == "vm cannot be protected:   - no tap  ")
    }

    @Test func `words of a guest do not drive the terminal`() {
        #expect(Output.oneLine("\u{1b}[2Jgone\u{7}\u{9b}31m") == " [2Jgone  31m")
    }

    @Test func `letters of every language stay`() {
        #expect(Output.oneLine("Gast läuft 実行中") == "Gast läuft 実行中")
    }
}

@Suite struct CheckTextTests {
    @Test func `each requirement has one line, and what to do under it`() {
        let report = CheckReport(
            host: "alpha",
            lines: [
                .init("kernel", .ok, "6.18"), .init("/dev/kvm", .warning, "missing", remedy: "modprobe kvm"),
                .init("arbiter", .failed, "no\nanswer \u{1b}[2J", remedy: "start etcd"),
            ])
        #expect(
            CheckText.render(report) == """
                ok      kernel: 6.18
                warning /dev/kvm: missing
                        -> modprobe kvm
                FAILED  arbiter: no answer  [2J
                        -> start etcd
                alpha is NOT fit: 1 of 3 requirements failed
                """)
        #expect(CheckText.render(CheckReport(host: "a", lines: Array(report.lines.prefix(2)))).hasSuffix("a is fit, with 1 warning"))
    }

    @Test func `status says when a certificate ends soon and nothing about a good one`() {
        func text(_ state: String) -> String {
            StatusText.render(
                HostStatus(
                    host: "alpha", version: "1", machines: [],
                    certificates: [
                        CertificateStatus(role: "certificate", file: "/c.pem", subject: "CN=a", notAfter: 0, daysLeft: 3, state: state)
                    ]))
        }
        #expect(text("expires-soon").contains("WARNING: certificate /c.pem: expires soon, 3 days left, until 1970-01-01T00:00:00Z"))
        #expect(!text("valid").contains("WARNING"))
    }
}
