import Glibc
import LinuxShim

/// Runs `understudy-inject`, the only code that ever touches another process's registers.
struct Injector {
    let helperPath: String
    /// The helper gives up by itself after 5 s.
    private static let patienceMilliseconds: Int32 = 15_000

    /// Opens a userfaultfd inside the process; returns its number there.
    func openUserfaultfd(in pid: Int32) throws(GuestMemoryError) -> Int32 {
        let output = try run(["\(pid)"])
        let words = output.split(whereSeparator: { $0 == " " || $0 == "\n" })
        guard words.count == 2, words[0] == "descriptor", let number = Int32(words[1]) else {
            throw GuestMemoryError(code: .injectionFailed, message: "\(helperPath) said \"\(output)\"; is it of this version?")
        }
        return number
    }

    /// Closes a userfaultfd inside the process.
    func closeUserfaultfd(_ number: Int32, in pid: Int32) throws(GuestMemoryError) {
        _ = try run(["\(pid)", "close", "\(number)"])
    }

    private func run(_ arguments: [String]) throws(GuestMemoryError) -> String {
        var ends: [Int32] = [-1, -1]
        let outcome = understudy_memory_pipe(&ends)
        guard outcome == 0 else { throw .failed("making a pipe", -outcome) }
        defer { close(ends[0]) }
        let helper: pid_t
        do throws(GuestMemoryError) {
            helper = try spawn(arguments, output: ends[1])
        } catch {
            close(ends[1])
            throw error
        }
        close(ends[1])
        let (text, inTime) = collect(ends[0])
        // A helper that hangs is killed; the traced thread then runs on by itself.
        if !inTime { kill(helper, SIGKILL) }
        var status: Int32 = 0
        while waitpid(helper, &status, 0) < 0 {
            guard errno == EINTR else { throw .failed("waiting for \(helperPath)", errno) }
        }
        guard inTime, status == 0 else {
            let reason = text.isEmpty ? "\(helperPath) ended with status \(status)" : text.split(separator: "\n").joined(separator: "; ")
            throw GuestMemoryError(code: .injectionFailed, message: reason)
        }
        return text
    }

    private func spawn(_ arguments: [String], output: Int32) throws(GuestMemoryError) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_adddup2(&actions, output, 2)
        understudy_memory_close_from(&actions, 3)
        var everySignal = sigset_t()
        sigfillset(&everySignal)
        posix_spawnattr_setsigdefault(&attributes, &everySignal)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))
        var words: [UnsafeMutablePointer<CChar>?] = ([helperPath] + arguments).map { strdup($0) }
        words.append(nil)
        defer { for word in words { free(word) } }
        var helper: pid_t = 0
        // SAFETY: `words` ends with nil and its strings live until after the call.
        let outcome = posix_spawn(&helper, helperPath, &actions, &attributes, words, environ)
        guard outcome == 0 else { throw .failed("starting \(helperPath)", outcome, code: .injectionFailed) }
        return helper
    }

    /// What the helper wrote until it closed its output, and whether that was in time.
    private func collect(_ descriptor: Int32) -> (String, Bool) {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let ready = poll(&request, 1, Injector.patienceMilliseconds)
            if ready < 0, errno == EINTR { continue }
            guard ready > 0 else { return (String(decoding: bytes, as: UTF8.self), false) }
            let count = read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return (String(decoding: bytes, as: UTF8.self), count == 0) }
            bytes.append(contentsOf: chunk[0..<count])
        }
    }
}
