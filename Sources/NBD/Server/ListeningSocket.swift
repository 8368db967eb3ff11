import Glibc
import LinuxShim

/// The path at which clients connect. Only those whom `access` names can: the path's mode is set before it listens.
final class ListeningSocket: Sendable {
    private let descriptor: CInt
    let path: String
    /// Device and inode of the path, so that a successor's is not removed.
    private let identity: (dev_t, ino_t)

    init(path: String, access: NBDSocketAccess) throws(NBDError) {
        self.path = path
        let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw Self.failure("socket", path) }
        self.descriptor = descriptor
        var bound = stat()
        do throws(NBDError) {
            try Self.removeLeftover(path)
            try Self.bind(descriptor, path)
            guard chmod(path, access.mode) == 0 else { throw Self.failure("chmod", path) }
            if access.user != nil || access.group != nil {
                guard chown(path, access.user ?? .max, access.group ?? .max) == 0 else { throw Self.failure("chown", path) }
            }
            guard stat(path, &bound) == 0 else { throw Self.failure("stat", path) }
            guard listen(descriptor, 64) == 0 else { throw Self.failure("listen", path) }
        } catch {
            close(descriptor)
            throw error
        }
        identity = (bound.st_dev, bound.st_ino)
    }

    deinit { close(descriptor) }

    /// The next connection; nil once `stop` was called.
    func accept() throws(NBDError) -> StreamSocket? {
        while true {
            let accepted = understudy_accept(descriptor)
            if accepted >= 0 {
                let socket = StreamSocket(accepted)
                try socket.setBlocking()
                return socket
            }
            switch errno {
            case EINVAL: return nil
            case EINTR, ECONNABORTED: continue
            default: throw Self.failure("accept", path)
            }
        }
    }

    /// Ends `accept` and removes the path.
    func stop() {
        shutdown(descriptor, CInt(SHUT_RDWR))
        var present = stat()
        if lstat(path, &present) == 0 && (present.st_dev, present.st_ino) == identity { unlink(path) }
    }

    /// A path at which nobody listens any more may be taken over; anything else may not.
    private static func removeLeftover(_ path: String) throws(NBDError) {
        var present = stat()
        guard lstat(path, &present) == 0 else { return }
        guard present.st_mode & S_IFMT == S_IFSOCK else { throw NBDError(.listenFailed, "\(path) exists and is no socket") }
        let probe = understudy_connect_unix(path)
        if probe >= 0 { close(probe) }
        guard probe == -ECONNREFUSED else { throw NBDError(.listenFailed, "another server listens at \(path)") }
        guard unlink(path) == 0 else { throw failure("unlink", path) }
    }

    private static func bind(_ descriptor: CInt, _ path: String) throws(NBDError) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let fits = withUnsafeMutableBytes(of: &address.sun_path) { space in
            guard path.utf8.count < space.count, !path.utf8.contains(0) else { return false }
            space.copyBytes(from: path.utf8)
            return true
        }
        guard fits else { throw NBDError(.listenFailed, "\(path) is too long for a socket's path") }
        let result = withUnsafePointer(to: address) {
            // SAFETY: bind reads as many bytes of the address as it is told.
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard result == 0 else { throw failure("bind", path) }
    }

    private static func failure(_ call: String, _ path: String) -> NBDError {
        NBDError(.listenFailed, "\(call) failed for \(path): \(String(cString: strerror(errno)))")
    }
}
