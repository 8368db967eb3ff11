import Foundation
import Glibc

/// Data goes to standard output, messages to standard error.
enum Output {
    static var isTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    static func complain(_ message: String) { FileHandle.standardError.write(Data("understudy: \(message)\n".utf8)) }

    /// A line for the spectator, on standard error.
    static func note(_ message: String) { FileHandle.standardError.write(Data("\(message)\n".utf8)) }

    /// A line of data that must reach a pipe at once.
    static func line(_ text: String) { FileHandle.standardOutput.write(Data("\(text)\n".utf8)) }

    /// The text without line ends and control characters: a guest's or a peer's words must not drive the operator's terminal.
    static func oneLine(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }))
    }

    /// The daemon's working folder is another than the operator's.
    static func absolute(_ path: String) -> String { URL(fileURLWithPath: path).standardizedFileURL.path }

    static func json(_ value: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else { preconditionFailure("every document of the contract is representable as JSON") }
        return String(decoding: data, as: UTF8.self)
    }

    /// A line that replaces the one before it on a terminal, and is left out elsewhere.
    static func progress(_ line: String, last: Bool = false) {
        guard isTerminal else { return }
        FileHandle.standardError.write(Data("\r\u{1b}[K\(line)\(last ? "\n" : "")".utf8))
    }
}
