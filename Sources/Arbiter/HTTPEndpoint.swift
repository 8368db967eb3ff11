// SPDX-License-Identifier: Apache-2.0

import Glibc

/// One `http://host:port` or `https://host:port` of the arbiter. IPv6 addresses stand in brackets.
struct HTTPEndpoint: Sendable, Equatable {
    let host: String
    let port: UInt16
    let isSecure: Bool

    var authority: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    init(_ text: String) throws(ArbiterError) {
        let wrong = ArbiterError(
            .badConfiguration, "The arbiter's endpoint \"\(text)\" must have the form http://host:port or https://host:port (no path).")
        guard let scheme = ["http://", "https://"].first(where: text.hasPrefix) else { throw wrong }
        isSecure = scheme == "https://"
        var rest = text.dropFirst(scheme.count)
        if rest.hasSuffix("/") { rest.removeLast() }
        guard let colon = rest.lastIndex(of: ":"), let port = UInt16(rest[rest.index(after: colon)...]), port > 0 else { throw wrong }
        var host = rest[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() } else if host.contains(":") { throw wrong }
        guard !host.isEmpty, host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "@") }) else {
            throw wrong
        }
        self.host = String(host)
        self.port = port
    }
}
