import Testing

@testable import HostDaemon

@Suite struct DedicatedThreadTests {
    @Test func `a thread for which the system has no room is a clear error`() {
        #expect {
            try DedicatedThread(name: "greedy", stackBytes: 1 << 46) {}
        } throws: { error in
            (error as? HostDaemonError)?.code == .system && "\(error)".contains("no thread greedy can be started")
                && "\(error)".contains("TasksMax")
        }
    }

    @Test func `a thread that has room runs and is joined`() throws {
        let thread = try DedicatedThread(name: "modest", stackBytes: 1 << 20) {}
        thread.join()
    }
}
