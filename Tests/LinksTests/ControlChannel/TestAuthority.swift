// SPDX-License-Identifier: Apache-2.0

import Foundation
import Links

/// Certificates made with the openssl command in a scratch folder that goes away with this object.
final class TestAuthority {
    static let isAvailable = FileManager.default.isExecutableFile(atPath: openssl)
    private static let openssl = "/usr/bin/openssl"

    private let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "links-tests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try makeKey("authority")
        try run([
            "req", "-x509", "-new", "-key", path("authority.key"), "-days", "2", "-subj", "/CN=Test authority", "-out",
            path("authority.pem"),
        ])
    }

    deinit {
        do { try FileManager.default.removeItem(at: folder) } catch { print("scratch folder \(folder.path) was left: \(error)") }
    }

    /// A certificate for a host, signed by this authority.
    ///
    /// - Parameters:
    ///   - names: DNS entries; none leaves the extension out, so that the common name counts.
    ///   - authority: whose certificates the holder believes; this one's by default.
    func issue(commonName: String, names: [String], days: Int = 2, believing authority: TestAuthority? = nil) throws -> ControlTLS {
        let file = UUID().uuidString
        try makeKey(file)
        try run(["req", "-new", "-key", path("\(file).key"), "-subj", "/CN=\(commonName)", "-out", path("\(file).csr")])
        var extensions = "basicConstraints=CA:FALSE\n"
        if !names.isEmpty { extensions += "subjectAltName=" + names.map { "DNS:\($0)" }.joined(separator: ",") + "\n" }
        try extensions.write(toFile: path("\(file).ext"), atomically: true, encoding: .utf8)
        var arguments = ["x509", "-req", "-in", path("\(file).csr"), "-CA", path("authority.pem"), "-CAkey", path("authority.key")]
        arguments += ["-CAcreateserial", "-days", String(days), "-extfile", path("\(file).ext"), "-out", path("\(file).pem")]
        try run(arguments)
        return ControlTLS(
            authorityFile: (authority ?? self).path("authority.pem"), certificateFile: path("\(file).pem"), keyFile: path("\(file).key"))
    }

    private func makeKey(_ name: String) throws {
        try run(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path("\(name).key")])
    }

    func path(_ name: String) -> String { folder.appending(path: name).path }

    /// Runs openssl; its output is shown only when it fails.
    private func run(_ arguments: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Self.openssl)
        process.arguments = arguments
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw LinkError(.system, "openssl \(arguments) failed: \(text)") }
    }
}
