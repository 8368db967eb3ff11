import Glibc
import Synchronization

/// Calls made inside a network namespace.
enum NetworkNamespace {
    /// Runs `body` on a fresh thread that has joined the namespace; the thread ends with it, no other thread is moved.
    static func run<Value: Sendable>(
        in namespace: String, _ body: @Sendable () throws(DemonstrationError) -> Value
    ) throws(DemonstrationError) -> Value {
        let outcome = Outcome<Value>()
        // SAFETY: the thread is joined below, before this function returns, so the closure does not outlive its scope.
        try withoutActuallyEscaping(body) { (escaping) throws(DemonstrationError) in
            let thread = try LabThread {
                do throws(DemonstrationError) {
                    try join(namespace)
                    let value = try escaping()
                    outcome.value.withLock { $0 = .success(value) }
                } catch {
                    outcome.value.withLock { $0 = .failure(error) }
                }
            }
            thread.join()
        }
        guard let result = outcome.value.withLock({ $0 }) else {
            preconditionFailure("a namespace thread ended without an outcome")
        }
        return try result.get()
    }

    private final class Outcome<Value: Sendable>: Sendable {
        let value = Mutex<Result<Value, DemonstrationError>?>(nil)
    }

    /// Moves the calling thread into a namespace that `ip netns` made.
    private static func join(_ namespace: String) throws(DemonstrationError) {
        let descriptor = open("/run/netns/\(namespace)", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw LabSystem.failure(.network, "the network namespace \(namespace) cannot be opened") }
        defer { close(descriptor) }
        // Swift's Glibc module does not import setns(2), which is declared for _GNU_SOURCE only.
        guard let symbol = dlsym(nil, "setns") else {
            throw DemonstrationError(.prerequisiteMissing, "this C library has no setns: glibc 2.14 or later is needed")
        }
        // SAFETY: the symbol is glibc's `int setns(int, int)`.
        let setns = unsafeBitCast(symbol, to: (@convention(c) (Int32, Int32) -> Int32).self)
        let cloneNewNet: Int32 = 0x4000_0000
        guard setns(descriptor, cloneNewNet) == 0 else {
            throw LabSystem.failure(.network, "cannot enter the network namespace \(namespace) (root is needed)")
        }
    }
}
