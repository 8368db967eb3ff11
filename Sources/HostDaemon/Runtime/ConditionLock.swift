internal import Glibc

/// A lock with a condition, for threads that wait for each other's progress with a time limit.
final class ConditionLock: @unchecked Sendable {
    // SAFETY: both objects live at a fixed address, are made in `init` and used through the pthread calls only.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    func withLock<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }

    /// Inside `withLock`: lets go of the lock until `announce`, or until a moment of the monotonic clock.
    ///
    /// - Returns: false when the moment has passed.
    func wait(until moment: UInt64? = nil) -> Bool {
        guard let moment else { return pthread_cond_wait(condition, mutex) == 0 }
        var time = timespec(tv_sec: Int(moment / 1_000_000_000), tv_nsec: Int(moment % 1_000_000_000))
        return pthread_cond_timedwait(condition, mutex, &time) != ETIMEDOUT
    }

    /// Wakes everybody who waits.
    func announce() { pthread_cond_broadcast(condition) }
}
