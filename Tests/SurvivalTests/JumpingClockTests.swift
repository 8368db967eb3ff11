import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing

/// Nothing is decided, and nothing measured, by the time of day: it jumps by hours, for both daemons and both QEMUs.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct JumpingClockTests {
    /// Preloaded into a program: every 7 ms its time of day is another one of three, two of them hours ahead.
    private static let source = """
        #include <sys/syscall.h>
        #include <sys/time.h>
        #include <time.h>
        #include <unistd.h>
        static long jump(void) {
            struct timespec now;
            syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
            return (now.tv_sec * 1000 + now.tv_nsec / 1000000) / 7 % 3 * 3600;
        }
        int clock_gettime(clockid_t clock, struct timespec *time) {
            int result = syscall(SYS_clock_gettime, clock, time);
            if (result == 0 && clock == CLOCK_REALTIME) time->tv_sec += jump();
            return result;
        }
        int gettimeofday(struct timeval *time, void *zone) {
            struct timespec now;
            clock_gettime(CLOCK_REALTIME, &now);
            time->tv_sec = now.tv_sec;
            time->tv_usec = now.tv_nsec / 1000;
            return 0;
        }
        time_t time(time_t *result) {
            struct timespec now;
            clock_gettime(CLOCK_REALTIME, &now);
            if (result) *result = now.tv_sec;
            return now.tv_sec;
        }
        """

    @Test func aTimeOfDayThatJumpsDisturbsNobody() throws {
        let folder = FileManager.default.temporaryDirectory.path + "/understudy-clock-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let (library, qemu) = try Self.build(in: folder)
        let pair = try ProtectedLab(settings: ProtectedLab.patient, qemu: qemu, environment: ["LD_PRELOAD": library], booting: true)
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(100)
        let status = try #require(pair.status(.first))
        #expect(status.state == .protected)
        let pause = try #require(status.checkpoints?.pauseMilliseconds)
        #expect(pause.p50 >= 0 && pause.max < 60_000, "\(pause)")
        #expect(Self.spread(of: pair.daemons.first) > 3000, "control: the daemon's clock jumped")
        let died = MonotonicTime.now()
        try pair.killFirstHost()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }

    /// The library to preload, and a QEMU with it.
    private static func build(in folder: String) throws -> (library: String, qemu: String) {
        let (source, library, qemu) = ("\(folder)/clock.c", "\(folder)/clock.so", "\(folder)/qemu")
        try Self.source.write(toFile: source, atomically: true, encoding: .utf8)
        let compiler = Process()
        compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        compiler.arguments = ["clang", "-shared", "-fPIC", "-O1", "-o", library, source]
        try compiler.run()
        compiler.waitUntilExit()
        guard compiler.terminationStatus == 0 else { throw SurvivalFailure("clang, which comes with Swift, failed") }
        try "#!/bin/sh\nLD_PRELOAD=\(library) exec \(Requirements.qemu) \"$@\"\n".write(toFile: qemu, atomically: true, encoding: .utf8)
        chmod(qemu, 0o755)
        return (library, qemu)
    }

    /// Seconds between the earliest and the latest time that a daemon gave its events.
    private static func spread(of daemon: LabDaemons.Daemon) -> Double {
        var times: [Double] = []
        _ = try? daemon.perform(.events(follow: false)) { if case .event(let event) = $0 { times.append(event.time) } }
        return (times.max() ?? 0) - (times.min() ?? 0)
    }
}
