import Glibc
import LinuxShim

/// A userfaultfd that lives in another process, held here by a duplicate.
struct Userfaultfd: ~Copyable {
    /// The descriptor's number inside the process.
    let remoteNumber: Int32
    private let descriptor: Int32

    /// Fetches descriptor `remoteNumber`.
    init(in process: borrowing ProcessHandle, remoteNumber: Int32) throws(GuestMemoryError) {
        descriptor = try process.takeDescriptor(remoteNumber)
        self.remoteNumber = remoteNumber
    }

    deinit { close(descriptor) }

    /// Switches the tracking features on; this can be done once.
    func enable() throws(GuestMemoryError) {
        let outcome = understudy_userfaultfd_enable(descriptor)
        guard outcome < 0 else { return }
        throw .failed(
            "the kernel has no asynchronous write protection by userfaultfd (Linux 6.7 or later is needed)", -outcome, code: .kernelTooOld)
    }

    private static let kernelName = "anon_inode:[userfaultfd]"

    /// Whether descriptor `number` of the process is a userfaultfd.
    static func isOpen(_ number: Int32, in pid: Int32) throws(GuestMemoryError) -> Bool {
        try ProcFile.descriptors(of: pid).contains { $0.number == number && $0.target == kernelName }
    }

    /// The userfaultfd that an earlier tracker left in the process: one with exactly our features, else one that nobody has switched on yet
    /// (an injection cut short).
    static func existing(in pid: Int32) throws(GuestMemoryError) -> (number: Int32, isEnabled: Bool)? {
        var idle: Int32?
        for (number, target) in try ProcFile.descriptors(of: pid) where target == kernelName {
            let features = try features(inDescription: ProcFile.read("/proc/\(pid)/fdinfo/\(number)"))
            if features == understudy_userfaultfd_features() { return (number, true) }
            if features == 0 { idle = number }
        }
        return idle.map { ($0, false) }
    }

    /// The features in a line like `API:	aa:8000b001:80000000000001ff` (fs/userfaultfd.c), without the kernel's own mark "initialised" in bit 31.
    static func features(inDescription text: String) -> UInt64? {
        for line in text.split(separator: "\n") where line.hasPrefix("API:") {
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            guard fields.count == 4, let features = UInt64(fields[2], radix: 16) else { return nil }
            return features & ~(1 << 31)
        }
        return nil
    }

    func register(_ range: TrackedRange, name: String) throws(GuestMemoryError) {
        let outcome = understudy_userfaultfd_register(descriptor, range.start, range.registeredEnd - range.start)
        guard outcome < 0 else { return }
        let what = "tracking RAM block \"\(name)\""
        switch -outcome {
        case EBUSY:
            throw GuestMemoryError(
                code: .alreadyTracked,
                message:
                    "\(what): another userfaultfd holds this memory (a migration, a background snapshot, another tracker); end that first",
                errno: EBUSY)
        case EINVAL, ENOMEM: throw .failed("\(what): the kernel cannot write-protect this mapping", -outcome, code: .invalidBlock)
        default: throw .failed(what, -outcome)
        }
    }

    /// Ends tracking of a range; memory or process that is gone needs no end.
    func unregister(_ range: TrackedRange) throws(GuestMemoryError) {
        let outcome = understudy_userfaultfd_unregister(descriptor, range.start, range.registeredEnd - range.start)
        guard outcome < 0, ![ESRCH, EINVAL, ENOMEM].contains(-outcome) else { return }
        throw .failed("ending the tracking of memory", -outcome)
    }
}
