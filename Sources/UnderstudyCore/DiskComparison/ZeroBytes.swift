// SPDX-License-Identifier: Apache-2.0

/// Whether all bytes are zero.
public func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
    var offset = 0
    while offset + GuestPage.size <= bytes.count {
        // SAFETY: `GuestPage.size` bytes from here on lie inside the buffer.
        guard isZeroPage(bytes.baseAddress! + offset) else { return false }
        offset += GuestPage.size
    }
    return bytes[offset...].allSatisfy { $0 == 0 }
}
