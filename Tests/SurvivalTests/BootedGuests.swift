import Demonstration
import Foundation
import Glibc
import QMP
import Synchronization

/// Guests that were booted once in this test process and saved by QEMU's own migration when they were ready: booting under TCG takes
/// most of a test's time, loading a quarter of a second.
///
/// A loaded guest is a running QEMU like any other, with `-incoming` behind its arguments, which the standby never inherits. Guests with
/// disks, which would have to go with their memory, and guests that live for a given time are always booted.
enum BootedGuests {
    /// `UNDERSTUDY_BOOT_GUESTS` set: every guest is booted.
    private static let bootsAll = ProcessInfo.processInfo.environment["UNDERSTUDY_BOOT_GUESTS"] != nil
    private static let states = Mutex<[[String]: String]>([:])

    /// Where the states of this process lie; removed at its end, or by the next process when it was killed.
    private static let folder: String = {
        let parent = "\(Requirements.stateFolder)-booted"
        for name in (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? [] {
            if let pid = pid_t(name), Glibc.kill(pid, 0) != 0, errno == ESRCH {
                try? FileManager.default.removeItem(atPath: "\(parent)/\(name)")
            }
        }
        atexit { try? FileManager.default.removeItem(atPath: BootedGuests.folder) }
        return "\(parent)/\(getpid())"
    }()

    /// The lab's guest, ready to serve.
    static func start(_ launch: GuestLaunch, in lab: Lab, booting: Bool) throws -> LabGuest {
        guard !booting, !bootsAll, canBeLoaded(launch) else { return try boot(launch, in: lab) }
        let key = launch.arguments(tap: "", qmp: "", serial: "").map { $0.replacing(lab.folder, with: "LAB") }
        if let state = states.withLock({ $0[key] }) { return try load(state, launch, in: lab) }
        let state = "\(folder)/\(UUID().uuidString)"
        try save(boot(launch, in: lab), to: state)
        states.withLock { $0[key] = state }
        return try load(state, launch, in: lab)
    }

    private static func canBeLoaded(_ launch: GuestLaunch) -> Bool {
        guard launch.lifeSeconds == nil, launch.memoryBackend == .anonymous, launch.disks.isEmpty else { return false }
        return !launch.furtherArguments.contains { ["-drive", "-blockdev", "-hda", "-cdrom", "-accel", "-incoming", "-S"].contains($0) }
    }

    private static func boot(_ launch: GuestLaunch, in lab: Lab) throws -> LabGuest {
        let guest = try lab.startGuest(launch)
        try guest.waitUntilReady()
        return guest
    }

    /// Writes the guest's state to a file and ends its QEMU.
    private static func save(_ guest: LabGuest, to state: String) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let qmp = try connect(guest)
        try qmp.execute("stop")
        try qmp.execute("migrate-set-parameters", arguments: ["max-bandwidth": .int(1 << 40)])
        try qmp.execute("migrate", arguments: ["uri": .string("exec:cat > \(state)")])
        try wait("the saved state") { try qmp.execute("query-migrate")["status"]?.string == "completed" }
        qmp.close()
        guest.process.signal(SIGKILL)
        guard guest.process.wait(milliseconds: 60_000) != nil else { throw SurvivalFailure("QEMU does not end") }
        for file in [guest.qmp, guest.serial] { unlink(file) }
    }

    private static func load(_ state: String, _ launch: GuestLaunch, in lab: Lab) throws -> LabGuest {
        var loading = launch
        loading.furtherArguments += ["-incoming", "exec:cat \(state)"]
        let guest = try lab.startGuest(loading)
        let qmp = try connect(guest)
        defer { qmp.close() }
        try wait("the loaded state") { try qmp.execute("query-status")["status"]?.string == "paused" }
        try qmp.execute("cont")
        return guest
    }

    private static func connect(_ guest: LabGuest) throws -> QMPClient {
        while true {
            do throws(QMPError) { return try QMPClient(socketPath: guest.qmp, greetingTimeout: .seconds(60)) } catch {
                guard error.code == .connectFailed, guest.process.isRunning else { throw error }
                usleep(5_000)
            }
        }
    }

    private static func wait(_ what: String, until condition: () throws -> Bool) throws {
        let end = MonotonicTime.now() + 120_000_000_000
        while try !condition() {
            guard MonotonicTime.now() < end else { throw SurvivalFailure("waited 120 s in vain for \(what)") }
            usleep(5_000)
        }
    }
}
