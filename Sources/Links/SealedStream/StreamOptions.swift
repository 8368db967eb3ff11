// SPDX-License-Identifier: Apache-2.0

/// How a checkpoint stream uses its TCP socket.
public struct StreamOptions: Sendable {
    /// SO_SNDBUFFORCE and SO_RCVBUFFORCE in bytes; without CAP_NET_ADMIN the kernel sizes the buffers itself.
    public var socketBufferBytes: Int32
    /// TCP_USER_TIMEOUT: data not acknowledged by the peer's kernel for this long breaks the connection.
    public var unacknowledgedTimeout: Duration
    /// Bytes of sealed records collected before they are handed to the kernel.
    public var batchBytes: Int

    public init(
        socketBufferBytes: Int32 = 4 << 20, unacknowledgedTimeout: Duration = .seconds(10), batchBytes: Int = 256 << 10
    ) {
        self.socketBufferBytes = socketBufferBytes
        self.unacknowledgedTimeout = unacknowledgedTimeout
        self.batchBytes = batchBytes
    }
}
