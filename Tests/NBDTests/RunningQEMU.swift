import Glibc
import QMP

/// A QEMU whose guest never starts, with one disk; its blocks are read and written by the monitor's `qemu-io`.
final class RunningQEMU {
    static let distribution = "/usr/bin/qemu-system-x86_64"
    /// The distribution's QEMU, and the newer one that `scripts/fetch-qemu10` fetches.
    static let all = [distribution, getenv("UNDERSTUDY_QEMU_10").map { String(cString: $0) }].compactMap { $0 }
        .filter { access($0, X_OK) == 0 }

    let folder: ScratchFolder
    let process: ChildProcess
    let monitor: QMPClient
    var image: String { "\(folder.path)/image" }

    /// - Parameter format: of the image; a block node `bottom` and a drive `disk`.
    init(_ program: String, format: String, byteCount: Int) throws {
        folder = try ScratchFolder()
        let image = "\(folder.path)/image"
        try Tool.run("qemu-img create -q -f \(format) \(image) \(byteCount)")
        let socket = "\(folder.path)/qmp"
        process = try ChildProcess([
            program, "-S", "-accel", "tcg", "-machine", "q35", "-m", "64", "-nodefaults", "-display", "none", "-qmp",
            "unix:\(socket),server=on,wait=off", "-drive", "if=none,id=disk,node-name=bottom,format=\(format),file=\(image)", "-device",
            "virtio-blk-pci,drive=disk",
        ])
        var connected: QMPClient?
        try Tool.eventually("a monitor") {
            connected = try? QMPClient(socketPath: socket, greetingTimeout: .seconds(20))
            return connected != nil
        }
        monitor = connected!
    }

    func io(_ command: String) throws {
        let text = try monitor.humanMonitor("qemu-io disk \"\(command)\"", timeout: .seconds(60))
        if text.contains("failed") || text.contains("rror") { throw TestFailure("\(command): \(text)") }
    }

    func event(_ name: String, where matches: (QMPEvent) -> Bool = { _ in true }) throws {
        try Tool.eventually(name) {
            if monitor.takeEvents().contains(where: { $0.name == name && matches($0) }) { return true }
            try monitor.execute("query-name")
            return false
        }
    }

    /// Whether the disk, stopped writing, equals what a server serves.
    func diskEquals(_ uri: String, format: String) throws -> Bool {
        try Tool.result("timeout 60 qemu-img compare -U -f \(format) -F raw \(image) \(uri)").status == 0
    }
}
