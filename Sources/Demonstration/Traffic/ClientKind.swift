/// How a client talks to the guest.
public enum ClientKind: String, Sendable, CaseIterable {
    /// TCP, one request every 5 ms, without waiting for replies.
    case tcpPipelined
    /// TCP, the next request when the reply to the last one is there, and not within 2 ms of the last request.
    case tcpPingPong
    /// UDP, one datagram every 10 ms.
    case udpSlow
    /// UDP, one datagram every 5 ms.
    case udpFast

    /// Whether every request must be answered exactly once and in order.
    public var isStream: Bool { self == .tcpPipelined || self == .tcpPingPong }
}
