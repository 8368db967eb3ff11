// SPDX-License-Identifier: Apache-2.0

import Glibc

/// An IPv4 or IPv6 address with a port, as the kernel wants it.
struct SocketAddress {
    let family: Int32
    private let bytes: [UInt8]

    /// The addresses of a host, by the system's resolver.
    ///
    /// - Parameter passive: whether to listen there.
    static func resolve(host: String, port: UInt16, passive: Bool) throws(LinkError) -> [SocketAddress] {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)
        var list: UnsafeMutablePointer<addrinfo>?
        let result = getaddrinfo(host, String(port), &hints, &list)
        guard result == 0 else {
            throw LinkError(
                passive ? .configuration : .connectFailed,
                "the name \(host) cannot be resolved: \(String(cString: gai_strerror(result))); use an address or correct the name")
        }
        defer { freeaddrinfo(list) }
        var addresses: [SocketAddress] = []
        var entry = list
        while let current = entry {
            // SAFETY: the resolver's list says how many bytes each address has, and lives until freeaddrinfo.
            let raw = UnsafeRawBufferPointer(start: current.pointee.ai_addr, count: Int(current.pointee.ai_addrlen))
            addresses.append(SocketAddress(family: current.pointee.ai_family, bytes: Array(raw)))
            entry = current.pointee.ai_next
        }
        return addresses
    }

    /// The address of a socket's own end or of its peer, as text and port; nil when the kernel does not tell.
    static func describe(_ descriptor: Int32, peer: Bool) -> (host: String, port: UInt16)? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        var service = [CChar](repeating: 0, count: Int(NI_MAXSERV))
        let result = withUnsafeMutableBytes(of: &storage) { bytes in
            // SAFETY: sockaddr_storage has room and alignment for every socket address.
            let address = bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self)
            let known = peer ? getpeername(descriptor, address, &length) : getsockname(descriptor, address, &length)
            guard known == 0 else { return known }
            let flags = NI_NUMERICHOST | NI_NUMERICSERV
            return getnameinfo(address, length, &host, socklen_t(host.count), &service, socklen_t(service.count), flags)
        }
        guard result == 0, let port = UInt16(text(service)) else { return nil }
        return (text(host), port)
    }

    func withPointer<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        bytes.withUnsafeBytes { raw in
            // SAFETY: the bytes are a socket address of this family as the resolver made it; arrays are 16-byte aligned.
            body(raw.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t(raw.count))
        }
    }

    private static func text(_ characters: [CChar]) -> String {
        String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
