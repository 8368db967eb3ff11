/// Whether the `GuestPage.size` bytes at `page` are all zero. Leaves at the first piece of 256 bytes that is not.
@inlinable
public func isZeroPage(_ page: UnsafeRawPointer) -> Bool {
    var offset = 0
    while offset < GuestPage.size {
        // SAFETY: the caller owns GuestPage.size readable bytes at `page`, a multiple of 256; unaligned loads have no alignment to respect.
        var bits = page.loadUnaligned(fromByteOffset: offset, as: SIMD8<UInt64>.self)
        bits |= page.loadUnaligned(fromByteOffset: offset + 64, as: SIMD8<UInt64>.self)
        bits |= page.loadUnaligned(fromByteOffset: offset + 128, as: SIMD8<UInt64>.self)
        bits |= page.loadUnaligned(fromByteOffset: offset + 192, as: SIMD8<UInt64>.self)
        // Folded by halves: comparing whole vectors is compiled lane by lane, ten times slower.
        let half = bits.lowHalf | bits.highHalf
        let quarter = half.lowHalf | half.highHalf
        if quarter.x | quarter.y != 0 { return false }
        offset += 256
    }
    return true
}
