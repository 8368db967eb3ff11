import Foundation
import Glibc

/// A child process that answers by lines, ended and reaped with the object.
final class Child {
    let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private var buffered = Data()

    var pid: Int32 { process.processIdentifier }

    static let folder = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent().path
    static let helper = folder + "/understudy-inject"

    init(_ path: String, _ arguments: [String], environment: [String: String] = [:], errors: Bool = false) throws {
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = input
        process.standardOutput = output
        if errors { process.standardError = output }
        try process.run()
    }

    deinit {
        if process.isRunning {
            kill(pid, SIGCONT)
            kill(pid, SIGKILL)
        }
        process.waitUntilExit()
    }

    func line() throws -> String {
        while true {
            if let end = buffered.firstIndex(of: 10) {
                let line = String(decoding: buffered[buffered.startIndex..<end], as: UTF8.self)
                buffered = Data(buffered[(end + 1)...])
                return line
            }
            let more = output.fileHandleForReading.availableData
            if more.isEmpty { throw Failure("the child ended; it said \(String(decoding: buffered, as: UTF8.self))") }
            buffered.append(more)
        }
    }

    func send(_ text: String) throws { try input.fileHandleForWriting.write(contentsOf: Data((text + "\n").utf8)) }

    /// The state letter of /proc/PID/stat.
    var state: Character? {
        guard let text = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8), let end = text.lastIndex(of: ")") else {
            return nil
        }
        return text[text.index(end, offsetBy: 2)]
    }

    /// Stops all threads and waits until they stand still.
    func freeze() throws {
        kill(pid, SIGSTOP)
        try wait(for: "the child to stop") { self.state == "T" }
    }

    func thaw() { kill(pid, SIGCONT) }
}

struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Polls a condition; generous, since the machine may be loaded.
func wait(for what: String, seconds: Int = 120, _ condition: () throws -> Bool) throws {
    for _ in 0..<(seconds * 1000) {
        if try condition() { return }
        usleep(1000)
    }
    throw Failure("waited in vain for \(what)")
}

func userfaultfds(of pid: Int32) throws -> [String] {
    let folder = "/proc/\(pid)/fd"
    return try FileManager.default.contentsOfDirectory(atPath: folder).filter {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\($0)")) == "anon_inode:[userfaultfd]"
    }
}
