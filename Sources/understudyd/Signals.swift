import Glibc

/// Signals that the main thread waits for instead of dying from them.
struct Signals {
    private var set = sigset_t()

    /// Blocks them in the calling thread and every one that it makes from now on. Programs that the daemon starts get an empty mask.
    static func block(_ numbers: [CInt]) -> Signals {
        var signals = Signals()
        sigemptyset(&signals.set)
        for number in numbers { sigaddset(&signals.set, number) }
        pthread_sigmask(SIG_BLOCK, &signals.set, nil)
        return signals
    }

    /// Returns when one of them has come.
    func wait() {
        var set = set
        var number: CInt = 0
        while sigwait(&set, &number) != 0 {}
    }
}
