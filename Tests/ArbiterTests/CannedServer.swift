// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc

/// Accepts connections on loopback, reads what comes first, answers always the same bytes and closes (or stays silent).
final class CannedServer: Sendable {
    let endpoint: String
    private let descriptor: Int32

    init(_ answer: [UInt8], silent: Bool = false) throws {
        let loopback = try Loopback()
        let listener = loopback.descriptor
        descriptor = listener
        endpoint = "http://127.0.0.1:\(loopback.port)"
        Thread.detachNewThread {
            var open: [Int32] = []
            while true {
                let connection = accept(listener, nil, nil)
                guard connection >= 0 else { break }
                if silent {
                    open.append(connection)
                    continue
                }
                var request = [UInt8](repeating: 0, count: 8192)
                _ = recv(connection, &request, request.count, 0)
                var sent = 0
                while sent < answer.count {
                    let count = send(connection, Array(answer[sent...]), answer.count - sent, Int32(MSG_NOSIGNAL))
                    guard count > 0 else { break }
                    sent += count
                }
                close(connection)
            }
            for connection in open { close(connection) }
        }
    }

    convenience init(status: String = "200 OK", body: String) throws {
        try self.init(Array("HTTP/1.0 \(status)\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)".utf8))
    }

    deinit {
        shutdown(descriptor, Int32(SHUT_RDWR))
        close(descriptor)
    }
}
