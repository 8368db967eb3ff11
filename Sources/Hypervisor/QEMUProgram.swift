internal import Foundation
public import QMP

/// A QEMU program file, asked for its version without starting a machine.
public enum QEMUProgram {
    /// The program that is meant when no machine names one.
    public static let usual = "qemu-system-x86_64"

    /// Where `name` lies: itself when it is a path, else the first of `PATH`; nil when there is none.
    public static func find(_ name: String, path: String? = nil) -> String? {
        let path = path ?? ProcessInfo.processInfo.environment["PATH"] ?? ""
        let places = name.contains("/") ? [name] : path.split(separator: ":").map { "\($0)/\(name)" }
        return places.first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    /// Runs `PROGRAM --version`.
    ///
    /// - Parameters:
    ///   - program: an absolute path.
    ///   - log: a file for its output, removed afterwards.
    /// - Throws: `.launchFailed` when it does not start, end in time, or speak like QEMU.
    public static func version(of program: String, log: String) throws(HypervisorError) -> QMPVersion {
        let process = try ChildProcess(argv: [program, "--version"], log: log)
        defer { unlink(log) }
        let ended = process.waitForExit(until: .now + .seconds(10))
        if ended == nil { process.kill() }
        let said = ErrorLog.tail(of: log)
        guard ended == .status(0), let version = parse(said) else {
            throw HypervisorError(.launchFailed, "\(program) --version does not answer like QEMU: \(said.prefix(200))")
        }
        return version
    }

    /// Reads `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)`.
    static func parse(_ text: String) -> QMPVersion? {
        guard let line = text.split(separator: "\n").first(where: { $0.contains("version ") }),
            let rest = line.firstRange(of: "version ").map({ line[$0.upperBound...] })
        else { return nil }
        let numbers = rest.prefix { $0.isNumber || $0 == "." }.split(separator: ".").compactMap { Int($0) }
        guard numbers.count == 3 else { return nil }
        let package = rest.firstIndex(of: "(").map { rest[rest.index(after: $0)...].prefix { $0 != ")" } } ?? ""
        return QMPVersion(major: numbers[0], minor: numbers[1], micro: numbers[2], package: String(package))
    }
}
