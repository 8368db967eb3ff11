internal import Glibc

/// One datagram to a Unix socket.
enum DatagramSocket {
    /// Sends without waiting. A path that begins with `@` names an abstract socket, as in `NOTIFY_SOCKET`.
    ///
    /// - Returns: false when it could not be handed to the kernel.
    @discardableResult
    static func send(_ bytes: [UInt8], to path: String) -> Bool {
        let descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var name = Array(path.utf8)
        guard !name.isEmpty, name.count < MemoryLayout.size(ofValue: address.sun_path) else { return false }
        let isAbstract = name[0] == UInt8(ascii: "@")
        if isAbstract { name[0] = 0 }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
        // An abstract name has no end mark: its length counts.
        let length = socklen_t(MemoryLayout<sa_family_t>.size + name.count + (isAbstract ? 0 : 1))
        let sent = withUnsafePointer(to: &address) { pointer in
            // SAFETY: sockaddr_un may be passed as sockaddr; the length says how much of it counts.
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL) | CInt(MSG_DONTWAIT), $0, length)
            }
        }
        return sent == bytes.count
    }
}
