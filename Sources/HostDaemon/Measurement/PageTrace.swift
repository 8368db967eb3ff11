/// Pages of a real guest as they were at one checkpoint and at the next, for measurements.
package final class PageTrace {
    package let before: UnsafeMutableRawBufferPointer
    package let after: UnsafeMutableRawBufferPointer
    /// Pairs of pages so far; more are not taken than there is room for.
    package private(set) var count = 0
    package let capacity: Int

    package init(capacity: Int) {
        self.capacity = capacity
        before = .allocate(byteCount: capacity * 4096, alignment: 4096)
        after = .allocate(byteCount: capacity * 4096, alignment: 4096)
    }

    deinit {
        before.deallocate()
        after.deallocate()
    }

    func add(_ old: UnsafeRawPointer, _ new: UnsafeRawPointer) {
        guard count < capacity else { return }
        // SAFETY: `count` is below the capacity, for which both buffers were made.
        (before.baseAddress! + count * 4096).copyMemory(from: old, byteCount: 4096)
        (after.baseAddress! + count * 4096).copyMemory(from: new, byteCount: 4096)
        count += 1
    }
}
