internal import Glibc

/// The few system calls that both ends of the daemon's socket need.
public enum UnixSocket {
    /// Connects to a listening socket; -1 with `errno` set when that fails.
    public static func connect(path: String) -> CInt {
        withAddress(path) { address, length in
            let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
            guard descriptor >= 0 else { return -1 }
            if Glibc.connect(descriptor, address, length) == 0 { return descriptor }
            let failure = errno
            close(descriptor)
            errno = failure
            return -1
        }
    }

    /// Listens at a path that only the owner may use; -1 with `errno` set when that fails.
    public static func listen(path: String) -> CInt {
        withAddress(path) { address, length in
            let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
            guard descriptor >= 0 else { return -1 }
            let mask = umask(0o177)
            let bound = bind(descriptor, address, length)
            umask(mask)
            if bound == 0, Glibc.listen(descriptor, 64) == 0 { return descriptor }
            let failure = errno
            close(descriptor)
            errno = failure
            return -1
        }
    }

    /// Writes everything; false when the peer is gone.
    public static func writeAll(_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            // SAFETY: `rest` is a part of the caller's buffer, which outlives the call.
            let written = Glibc.send(descriptor, rest.baseAddressOfSlice, rest.count, CInt(MSG_NOSIGNAL))
            if written < 0 && errno == EINTR { continue }
            guard written > 0 else { return false }
            rest = rest.dropFirst(written)
        }
        return true
    }

    /// Appends what the peer sent; false at its end.
    public static func readMore(_ descriptor: CInt, into buffer: inout [UInt8]) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 16) { space in
            while true {
                let count = read(descriptor, space.baseAddress, space.count)
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else { return false }
                buffer.append(contentsOf: space[..<count])
                return true
            }
        }
    }

    private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            errno = ENAMETOOLONG
            return -1
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        return withUnsafePointer(to: &address) { pointer in
            // SAFETY: sockaddr_un may be passed as sockaddr; the length says how much of it counts.
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
    }
}

extension Slice where Base == UnsafeRawBufferPointer {
    fileprivate var baseAddressOfSlice: UnsafeRawPointer? { base.baseAddress.map { $0 + startIndex } }
}
