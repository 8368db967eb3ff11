// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc

/// A TCP socket bound to a port of 127.0.0.1, and listening unless it only keeps the port from everybody else.
struct Loopback {
    let descriptor: Int32
    let port: UInt16

    /// - Parameter port: 0: one that the kernel chooses.
    init(port wanted: UInt16 = 0, listening: Bool = true) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = wanted.bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = self.descriptor
        // SAFETY: the pointers are valid for the calls, which only read or write one sockaddr_in.
        let result = unsafe withUnsafeMutablePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                guard unsafe bind(descriptor, pointer, length) == 0, !listening || listen(descriptor, 16) == 0 else { return Int32(-1) }
                return unsafe getsockname(descriptor, pointer, &length)
            }
        }
        guard result == 0 else {
            close(descriptor)
            throw CocoaError(.fileWriteUnknown)
        }
        port = UInt16(bigEndian: address.sin_port)
    }

    /// Ports that nobody has now, below those that the kernel gives to outgoing connections and to whoever asks for any port:
    /// only another caller that draws the same number can be in the way before they are used.
    static func freePorts(_ count: Int) throws -> [UInt16] {
        var held: [Loopback] = []
        defer { for loopback in held { close(loopback.descriptor) } }
        for _ in 0..<10_000 where held.count < count {
            if let loopback = try? Loopback(port: .random(in: 15_000..<32_000), listening: false) { held.append(loopback) }
        }
        guard held.count == count else { throw CocoaError(.fileWriteUnknown) }
        return held.map(\.port)
    }
}
