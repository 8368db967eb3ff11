import Glibc

/// The state folder's lock: one lab at a time, held by the demo and by its guard.
enum LabLock {
    /// Takes the lock. While a dead demo's guard still cleans up, waits for it.
    ///
    /// - Returns: the locked descriptor, close-on-exec.
    static func take(in stateFolder: String) throws(DemonstrationError) -> Int32 {
        let path = stateFolder + "/lock"
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw LabSystem.failure(.file, "cannot open the lock \(path)") }
        let deadline = MonotonicTime.now() + 60_000_000_000
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            let holder = LabFiles.text(of: path).split(separator: "\n").first.flatMap { pid_t($0) }
            let alive = holder.map { kill($0, 0) == 0 || errno == EPERM } ?? true
            if alive || MonotonicTime.now() > deadline {
                close(descriptor)
                let who = holder.map { " (process \($0))" } ?? ""
                throw DemonstrationError(.alreadyRunning, "another demo is running\(who): end it with Ctrl-C and start again")
            }
            MonotonicTime.sleep(milliseconds: 50)
        }
        do throws(DemonstrationError) {
            try LabFiles.write("\(getpid())\n", to: path)
        } catch {
            close(descriptor)
            throw error
        }
        return descriptor
    }
}
