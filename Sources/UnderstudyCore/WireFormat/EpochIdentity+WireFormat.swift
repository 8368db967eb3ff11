// SPDX-License-Identifier: Apache-2.0

extension EpochIdentity {
    /// Writes generation, session nonce and epoch, 8 bytes each.
    func write(to buffer: UnsafeMutableRawBufferPointer, at offset: Int) {
        precondition(offset >= 0 && offset + WireFormat.identityLength <= buffer.count, "the buffer is too small for an identity")
        buffer.storeBytes(of: generation.littleEndian, toByteOffset: offset, as: UInt64.self)
        buffer.storeBytes(of: sessionNonce.littleEndian, toByteOffset: offset + 8, as: UInt64.self)
        buffer.storeBytes(of: epoch.littleEndian, toByteOffset: offset + 16, as: UInt64.self)
    }

    /// Reads what `write` wrote.
    init(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(WireFormatError) {
        guard offset >= 0, offset + WireFormat.identityLength <= bytes.count else {
            throw WireFormatError(.wrongLength, "a message of \(bytes.count) bytes ends inside its identity")
        }
        self.init(
            generation: bytes.littleEndian(at: offset, as: UInt64.self), sessionNonce: bytes.littleEndian(at: offset + 8, as: UInt64.self),
            epoch: bytes.littleEndian(at: offset + 16, as: UInt64.self))
    }
}
