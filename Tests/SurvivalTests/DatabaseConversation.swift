import Demonstration
import Foundation
import Glibc
import Synchronization

/// A program that is told a line and answers a line, in the client's network namespace: a client of a database in the guest.
///
/// Numbers are stored one after the other on a thread of its own; what was confirmed counts.
final class DatabaseConversation: @unchecked Sendable {
    // SAFETY: the pipes are used by one thread at a time: by `store`'s while it runs, else by the test's.
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private let command: @Sendable (Int) -> String
    private let state = Mutex(State())
    private let ended = DispatchSemaphore(value: 0)

    private struct State {
        var confirmed = 0
        var failure: String?
        var isStopping = false
    }

    /// - Parameters:
    ///   - port: the guest's; the program starts when something listens there, or after two minutes.
    ///   - program: in bash's words.
    ///   - command: what to tell the program to store a number; the answer is that number.
    init(namespace: String, port: Int, program: String, command: @escaping @Sendable (Int) -> String) throws {
        self.command = command
        // A program that has ended is seen by its missing answer.
        signal(SIGPIPE, SIG_IGN)
        let wait = "for try in {1..240}; do (exec 3<>/dev/tcp/\(LabAddresses.guest)/\(port)) 2>/dev/null && break; sleep 0.5; done"
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", namespace, "bash", "-c", "\(wait); \(program)"]
        process.standardInput = input
        process.standardOutput = output
        try process.run()
    }

    deinit { process.terminate() }

    /// Numbers confirmed so far: 1 to this one.
    var confirmed: Int { state.withLock { $0.confirmed } }
    /// Why the storing ended by itself.
    var failure: String? { state.withLock { $0.failure } }

    /// Begins to store 1, 2, 3, ... until `stop`.
    func store() {
        Thread.detachNewThread { [self] in
            var number = 1
            while !state.withLock({ $0.isStopping }) {
                let answer = ask(command(number))
                guard answer == "\(number)" else {
                    state.withLock { $0.failure = "after \(number - 1) numbers the answer was \(answer.debugDescription)" }
                    break
                }
                state.withLock { $0.confirmed = number }
                number += 1
            }
            ended.signal()
        }
    }

    /// Ends the storing after the answer that is awaited.
    func stop() {
        state.withLock { $0.isStopping = true }
        ended.wait()
    }

    /// Tells the program a line and waits for its answer, which is cut short when it ends or says nothing for three minutes.
    func ask(_ line: String) -> String {
        try? input.fileHandleForWriting.write(contentsOf: Data((line + "\n").utf8))
        var answer = Data()
        var ready = pollfd(fd: output.fileHandleForReading.fileDescriptor, events: Int16(POLLIN), revents: 0)
        while poll(&ready, 1, 180_000) > 0, let byte = try? output.fileHandleForReading.read(upToCount: 1), byte.count == 1,
            byte[byte.startIndex] != 0x0a
        {
            answer += byte
        }
        return String(decoding: answer, as: UTF8.self)
    }
}
