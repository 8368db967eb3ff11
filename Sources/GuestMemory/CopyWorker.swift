import Glibc
import UnderstudyCore

/// A thread that sleeps until it is given a piece of work, does it and says so. It is never on the cooperative pool.
final class CopyWorker: @unchecked Sendable {
    let share = CopyShare()
    // SAFETY: `@unchecked Sendable`: between `begin` and `wait` the thread owns `share` and `job`, at all other times the caller does;
    // the two semaphores order the hand-overs.
    private let start: UnsafeMutablePointer<sem_t>
    private let done: UnsafeMutablePointer<sem_t>
    private var thread = pthread_t()
    private var job: CopyJob?

    init() throws(GuestMemoryError) {
        start = .allocate(capacity: 1)
        done = .allocate(capacity: 1)
        sem_init(start, 0, 0)
        sem_init(done, 0, 0)
        // SAFETY: the thread is joined by `end`, and the worker is kept alive by the reference it is given.
        let me = Unmanaged.passRetained(self)
        let outcome = pthread_create(&thread, nil, { CopyWorker.main($0) }, me.toOpaque())
        if outcome != 0 {
            me.release()
            throw .failed("starting a copy thread", outcome)
        }
    }

    deinit {
        sem_destroy(start)
        sem_destroy(done)
        start.deallocate()
        done.deallocate()
    }

    func begin(_ job: CopyJob) {
        self.job = job
        sem_post(start)
    }

    func wait() { CopyWorker.take(done) }

    /// Ends the thread. The worker cannot be used after it.
    func end() {
        job = nil
        sem_post(start)
        pthread_join(thread, nil)
    }

    private static func main(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
        guard let argument else { return nil }
        // SAFETY: `init` passed a retained reference; it is released when the thread ends.
        let worker = Unmanaged<CopyWorker>.fromOpaque(argument).takeRetainedValue()
        while true {
            take(worker.start)
            guard let job = worker.job else { return nil }
            worker.share.copy(pid: job.pid, runs: job.runs, addresses: job.addresses)
            sem_post(worker.done)
        }
    }

    private static func take(_ semaphore: UnsafeMutablePointer<sem_t>) {
        while sem_wait(semaphore) != 0 {
            // Only a signal handler can interrupt; anything else would be a broken semaphore of our own.
            guard errno == EINTR else { preconditionFailure("sem_wait failed with errno \(errno)") }
        }
    }
}
