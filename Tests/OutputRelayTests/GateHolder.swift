import Glibc

/// A child process that holds an output gate, to be killed.
final class GateHolder {
    private let process: pid_t
    private var isAlive = true

    /// Starts the child in the calling thread's namespace and waits until it holds the gate.
    init(tap: String, _ step: String) throws {
        var buffer = [CChar](repeating: 0, count: 4096)
        let length = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        let executable = String(decoding: buffer[..<max(0, length)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let path = executable.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 } + "/RelayHolder"
        var ends: [Int32] = [0, 0]
        try TestNetwork.require(pipe(&ends) == 0, "make a pipe")
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_addclose(&actions, ends[0])
        var arguments: [UnsafeMutablePointer<CChar>?] = [path, tap, step].map { (text: String) in strdup(text) } + [nil]
        var process: pid_t = 0
        let result = posix_spawn(&process, path, &actions, nil, &arguments, environ)
        for argument in arguments { free(argument) }
        posix_spawn_file_actions_destroy(&actions)
        close(ends[1])
        defer { close(ends[0]) }
        try TestNetwork.require(result == 0, "spawn \(path)")
        self.process = process
        var line = [UInt8](repeating: 0, count: 512)
        let count = read(ends[0], &line, line.count)
        let said = String(decoding: line[..<max(0, count)], as: UTF8.self)
        try TestNetwork.require(said == "ready\n", "hold a gate in a child: \(said)")
    }

    /// SIGKILL, and waits until the process is gone.
    func kill() {
        guard isAlive else { return }
        isAlive = false
        Glibc.kill(process, SIGKILL)
        waitpid(process, nil, 0)
    }

    deinit { kill() }
}
