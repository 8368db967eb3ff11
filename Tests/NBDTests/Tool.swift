import Glibc

/// Programs that no one here wrote.
enum Tool {
    static func isInstalled(_ names: String...) -> Bool {
        names.allSatisfy { name in ["/usr/bin", "/usr/sbin", "/bin"].contains { access("\($0)/\(name)", X_OK) == 0 } }
    }

    /// What a shell command prints; it fails unless its status is 0.
    @discardableResult
    static func run(_ line: String) throws -> String {
        let (status, text) = try result(line)
        guard status == 0 else { throw TestFailure("\(line): status \(status): \(text)") }
        return text
    }

    static func result(_ line: String) throws -> (status: CInt, text: String) {
        guard let pipe = popen("( \(line) ) 2>&1", "re") else { throw TestFailure("cannot run \(line)") }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = fread(&buffer, 1, buffer.count, pipe)
            if count == 0 { break }
            text += buffer[..<count]
        }
        return (pclose(pipe), String(decoding: text, as: UTF8.self))
    }

    /// Waits for something that another thread or process brings about.
    static func eventually(_ what: String, seconds: Int = 30, _ condition: () throws -> Bool) throws {
        for _ in 0..<seconds * 500 {
            if try condition() { return }
            usleep(2000)
        }
        throw TestFailure("never happened: \(what)")
    }
}
