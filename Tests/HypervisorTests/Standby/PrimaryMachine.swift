import Glibc
import QMP
import UnderstudyCore

@testable import Hypervisor

/// A real QEMU that plays the primary, in a folder of its own that goes with it.
final class PrimaryMachine {
    struct Failure: Error { var message: String }

    static let executable = "/usr/bin/qemu-system-x86_64"
    static var isInstalled: Bool { access(executable, X_OK) == 0 }
    /// The folder of a guest made for tests (`vmlinuz`, `initrd.gz`).
    static var guestFolder: String? {
        guard let value = getenv("UNDERSTUDY_GUEST") else { return nil }
        let folder = String(cString: value)
        return access("\(folder)/vmlinuz", R_OK) == 0 && access("\(folder)/initrd.gz", R_OK) == 0 ? folder : nil
    }

    let folder: String
    let argv: [String]
    let child: ChildProcess
    let qmp: QMPClient
    let machineType: String
    /// Names and sizes; the host address is known for main RAM and firmware only.
    let blocks: [RAMBlock]

    /// - Parameter options: those of the machine; `FOLDER` in them stands for the folder.
    init(_ options: [String]) throws {
        var template = Array("/tmp/understudy-standby-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure(message: "no folder") }
        let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        self.folder = folder
        let socket = "\(folder)/primary.qmp"
        argv =
            [Self.executable] + options.map { $0.replacing("FOLDER", with: folder) } + ["-qmp", "unix:\(socket),server=on,wait=off"]
        do {
            // A child of its own session survives this process; setpriv ends it all the same when the test process is killed.
            let prefix = access("/usr/bin/setpriv", X_OK) == 0 ? ["/usr/bin/setpriv", "--pdeathsig", "KILL"] : []
            child = try ChildProcess(argv: prefix + argv, log: "\(folder)/primary.log")
        } catch {
            Self.removeFolder(folder)
            throw error
        }
        do {
            qmp = try Self.connect(socket, child, folder)
            let type = try qmp.execute("qom-get", arguments: ["path": "/machine", "property": "type"]).string ?? ""
            machineType = type.replacing("-machine", with: "")
            blocks = try Self.readBlocks(qmp)
        } catch {
            child.kill()
            Self.removeFolder(folder)
            throw error
        }
    }

    deinit {
        child.kill()
        Self.removeFolder(folder)
    }

    var facts: MachineFacts {
        MachineFacts(executable: Self.executable, workingDirectory: "/", machineType: machineType)
    }

    func derive(_ purpose: StandbyCommandLine.Purpose, name: String, overrides: StandbyOverrides = StandbyOverrides()) throws
        -> StandbyCommandLine
    {
        var overrides = overrides
        overrides.outputFiles = .runtimeFolder
        return try StandbyCommandLine.derive(
            from: argv, machine: facts, overrides: overrides, purpose: purpose, runtimeFolder: folder, name: name)
    }

    func launch(_ purpose: StandbyCommandLine.Purpose, name: String, overrides: StandbyOverrides = StandbyOverrides()) throws
        -> StandbyProcess
    {
        let line = try derive(purpose, name: name, overrides: overrides)
        let standby = try StandbyProcess.launch(line, runtimeFolder: folder, name: name, timeout: .seconds(120))
        do {
            try standby.begin(blocks: blocks, machineType: machineType)
        } catch {
            standby.kill()
            throw error
        }
        return standby
    }

    /// The device state with the guest stopped; `body` runs at the stop.
    func checkpoint(resume: Bool = true, _ body: () throws -> Void = {}) throws -> [UInt8] {
        try qmp.execute("stop")
        try qmp.execute("xen-save-devices-state", arguments: ["filename": .string("\(folder)/devices"), "live": false])
        try body()
        if resume { try qmp.execute("cont") }
        return Self.file("\(folder)/devices")
    }

    func serial(_ name: String) -> String { String(decoding: Self.file("\(folder)/\(name)"), as: UTF8.self) }

    /// Polls `condition` until it holds.
    func wait(_ what: String, seconds: Int = 180, _ condition: () throws -> Bool) throws {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while try !condition() {
            guard ContinuousClock.now < deadline else { throw Failure(message: "never came: \(what)") }
            usleep(20_000)
        }
    }

    static func file(_ path: String) -> [UInt8] {
        let descriptor = open(path, O_RDONLY)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: Int(lseek(descriptor, 0, SEEK_END)))
        let count = pread(descriptor, &bytes, bytes.count, 0)
        return Array(bytes.prefix(max(0, count)))
    }

    private static func removeFolder(_ folder: String) {
        guard let list = opendir(folder) else { return }
        while let entry = readdir(list) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            unlink("\(folder)/\(name)")
        }
        closedir(list)
        rmdir(folder)
    }

    private static func connect(_ socket: String, _ child: ChildProcess, _ folder: String) throws -> QMPClient {
        let deadline = ContinuousClock.now + .seconds(120)
        while true {
            do {
                return try QMPClient(socketPath: socket, greetingTimeout: .seconds(120))
            } catch  where error.code == .connectFailed && child.exitStatus == nil && ContinuousClock.now < deadline {
                usleep(10_000)
            } catch {
                throw Failure(message: "\(error) \(ErrorLog.tail(of: "\(folder)/primary.log"))")
            }
        }
    }

    private static func readBlocks(_ qmp: QMPClient) throws -> [RAMBlock] {
        let main = hexadecimal(after: " is ", in: try qmp.humanMonitor("gpa2hva 0")) ?? 0
        let firmware = hexadecimal(after: " is ", in: try qmp.humanMonitor("gpa2hva 0xfffc0000")) ?? 0
        // Block Name, PSize, Offset, Used, Total.
        return try qmp.humanMonitor("info ramblock").split(separator: "\n").dropFirst().compactMap { line -> RAMBlock? in
            let fields = line.split(whereSeparator: \.isWhitespace)
            let numbers = fields.filter { $0.hasPrefix("0x") }.compactMap { UInt64($0.dropFirst(2), radix: 16) }
            guard let name = fields.first, numbers.count >= 3 else { return nil }
            let address = name == "pc.bios" ? firmware : name == "pc.ram" ? main : 0
            return RAMBlock(name: String(name), usedLength: numbers[1], totalLength: numbers[2], hostAddress: address)
        }
    }

    private static func hexadecimal(after mark: String, in text: String) -> UInt64? {
        guard let range = text.firstRange(of: mark + "0x") else { return nil }
        return UInt64(text[range.upperBound...].prefix { $0.isHexDigit }, radix: 16)
    }
}
