import Foundation
import Testing

@testable import GuestMemory

@Suite(.enabled(if: getuid() == 0, "needs root"))
struct TrackingTrialTests {
    @Test func `the kernel names the one page of this process that was written`() throws { try TrackingTrial.onOwnMemory() }

    @Test func `a helper process is tracked and copied from, and ends`() throws {
        try TrackingTrial.onHelper(helperPath: Child.helper)
    }

    @Test func `a helper that is none is named`() {
        #expect {
            try TrackingTrial.onHelper(helperPath: "/bin/true")
        } throws: { error in
            (error as? GuestMemoryError)?.code == .injectionFailed && "\(error)".contains("/bin/true")
        }
    }
}
