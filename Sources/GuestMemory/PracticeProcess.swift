import Glibc
import LinuxShim

/// `understudy-inject practice`: an event loop with sixteen pages, which ends with this object's pipes.
final class PracticeProcess {
    let pid: pid_t
    /// Where its pages lie in its own address space.
    let memory: UInt64
    private let input: Int32
    private let output: Int32
    private static let patienceMilliseconds: Int32 = 10_000

    init(helperPath: String) throws(GuestMemoryError) {
        var (toHelper, fromHelper): ([Int32], [Int32]) = ([-1, -1], [-1, -1])
        guard understudy_memory_pipe(&toHelper) == 0 else { throw .failed("making a pipe", errno) }
        guard understudy_memory_pipe(&fromHelper) == 0 else {
            for end in toHelper { close(end) }
            throw .failed("making a pipe", errno)
        }
        var pid: pid_t = 0
        let outcome = Self.spawn(helperPath, input: toHelper[0], output: fromHelper[1], &pid)
        close(toHelper[0])
        close(fromHelper[1])
        (input, output, self.pid) = (toHelper[1], fromHelper[0], pid)
        var address: UInt64?
        if outcome == 0 { address = Self.address(in: Self.read(fromHelper[0], until: UInt8(ascii: "\n"))) }
        guard let address else {
            let error = GuestMemoryError.failed(
                "\(helperPath) does not do as `understudy-inject practice` should; is it of this version?", outcome, code: .injectionFailed)
            if outcome == 0 { kill(pid, SIGKILL) }
            memory = 0
            reap()
            throw error
        }
        memory = address
    }

    /// Lets it write to one of its pages and waits until it has.
    func write(page: UInt8) throws(GuestMemoryError) {
        var number = page
        guard Glibc.write(input, &number, 1) == 1, Self.read(output, until: UInt8(ascii: "w")) != nil else {
            throw GuestMemoryError(code: .injectionFailed, message: "the process that was practised on does not go on after the injection")
        }
    }

    /// Ends it and takes everything away; call it once.
    func end() {
        kill(pid, SIGKILL)
        reap()
    }

    private func reap() {
        close(input)
        close(output)
        guard pid > 0 else { return }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
    }

    private static func spawn(_ path: String, input: Int32, output: Int32, _ pid: inout pid_t) -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, input, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        understudy_memory_close_from(&actions, 3)
        var words: [UnsafeMutablePointer<CChar>?] = [strdup(path), strdup("practice"), nil]
        defer { for word in words { free(word) } }
        // SAFETY: `words` ends with nil and its strings live until after the call.
        return posix_spawn(&pid, path, &actions, nil, &words, environ)
    }

    private static func address(in line: String?) -> UInt64? {
        guard let line, line.hasPrefix("memory ") else { return nil }
        return UInt64(line.dropFirst("memory ".count), radix: 16)
    }

    /// What comes before `end`; nil when it does not come in time.
    private static func read(_ descriptor: Int32, until end: UInt8) -> String? {
        var bytes: [UInt8] = []
        while bytes.count < 256 {
            var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let ready = poll(&request, 1, patienceMilliseconds)
            if ready < 0 && errno == EINTR { continue }
            var byte: UInt8 = 0
            guard ready > 0, Glibc.read(descriptor, &byte, 1) == 1 else { return nil }
            if byte == end { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(byte)
        }
        return nil
    }
}
