import Glibc

/// Single requests at a guest that does nothing else, far enough from each other that none meets another.
enum RoundTrips {
    /// Sends one datagram after another to the guest's service and waits for each reply.
    ///
    /// - Parameters:
    ///   - count: how many replies are wanted; a datagram without a reply within two seconds is left out.
    ///   - spacing: milliseconds from a reply to the next request; the pauses vary by half around it, so that they keep step with nothing.
    /// - Returns: milliseconds from request to reply.
    static func measure(
        in host: LabHost, guest: String, count: Int, spacing: UInt64
    ) throws(DemonstrationError) -> [Double] {
        try host.run { () throws(DemonstrationError) in
            guard let socket = ClientSocket.datagram(to: guest, port: ServiceProtocol.datagramPort) else {
                throw LabSystem.failure(.network, "cannot make a datagram socket")
            }
            defer { close(socket) }
            var trips: [Double] = []
            var buffer = [UInt8](repeating: 0, count: 2048)
            for number in 0..<UInt64(2 * count) where trips.count < count {
                MonotonicTime.sleep(milliseconds: spacing / 2 + number * 7919 % (spacing + 1))
                let request = ServiceProtocol.request(client: 0x7269_7070, number: number)
                let begun = MonotonicTime.now()
                send(socket, request, request.count, Int32(MSG_NOSIGNAL))
                guard ClientSocket.wait(socket, for: POLLIN, milliseconds: 2_000) else { continue }
                let end = MonotonicTime.now()
                // A reply that comes later than that is an earlier request's.
                if recv(socket, &buffer, buffer.count, 0) == ServiceProtocol.replyLength, ServiceProtocol.word(buffer[...], 8) == number {
                    trips.append(Double(end - begun) / 1e6)
                }
            }
            return trips
        }
    }
}
