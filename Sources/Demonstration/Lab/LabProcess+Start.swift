import Glibc

extension LabProcess {
    /// Starts a program in a session of its own with default signal dispositions and an empty signal mask.
    ///
    /// - Parameter descriptors: further descriptors for the program: its number to the demo's; standard input is `/dev/null` unless 0
    ///   is among them.
    static func start(
        _ arguments: [String], environment: [String: String] = [:], log: String, name: String, descriptors: [Int32: Int32] = [:]
    ) throws(DemonstrationError) -> LabProcess {
        guard let program = arguments.first else { preconditionFailure("a program without a name") }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        // In rising order, so that no target is a descriptor that is still to be copied.
        for (theirs, ours) in descriptors.sorted(by: { $0.key < $1.key }) { posix_spawn_file_actions_adddup2(&actions, ours, theirs) }
        // Whatever the demo itself inherited is not for the lab; a descriptor that is gone by then is no error.
        for inherited in try LabFiles.names(in: "/proc/self/fd").compactMap({ Int32($0) })
        where inherited > 2 && descriptors[inherited] == nil {
            posix_spawn_file_actions_addclose(&actions, inherited)
        }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        setSignals(&attributes)
        var pid: pid_t = 0
        let result = withCStrings(arguments) { argv in
            withCStrings(merged(environment)) { environ in posix_spawnp(&pid, program, &actions, &attributes, argv, environ) }
        }
        guard result == 0 else {
            throw LabSystem.failure(.process, "cannot start \(name) (is it installed, is the folder of \(log) there?)", errno: result)
        }
        return LabProcess(name: name, pid: pid, log: log)
    }

    private static func setSignals(_ attributes: inout posix_spawnattr_t) {
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigdefault(&attributes, &all)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        // POSIX_SPAWN_SETSID is declared for _GNU_SOURCE only.
        let setSession: Int32 = 0x80
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | setSession))
    }

    private static func merged(_ additions: [String: String]) -> [String] {
        var variables = [String]()
        var next = environ
        while let entry = next.pointee {
            let text = String(cString: entry)
            let name = text.prefix { $0 != "=" }
            if additions[String(name)] == nil { variables.append(text) }
            next += 1
        }
        return variables + additions.map { "\($0.key)=\($0.value)" }
    }

    private static func withCStrings<Value>(
        _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Value
    ) -> Value {
        var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
        pointers.append(nil)
        defer { for pointer in pointers { free(pointer) } }
        // SAFETY: the array ends with nil as execve(2) wants, and lives as long as the call.
        return pointers.withUnsafeMutableBufferPointer { buffer in
            guard let start = buffer.baseAddress else { preconditionFailure("an array with a terminator has a first element") }
            return body(start)
        }
    }
}
