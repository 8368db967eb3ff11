/// A place in a device state that looks like the end of a section: a footer, then another section's header or the end of the state.
struct SectionBoundary {
    static let footerMark: UInt8 = 0x7e
    static let footerSize = 5

    /// Where the footer stands.
    var footer: Int
    /// The section id that it repeats.
    var id: UInt32
    /// Where the next header stands; the last byte of the state if none follows.
    var next: Int { footer + Self.footerSize }

    /// Every boundary in `state` from `start` on, in order.
    static func all(in state: UnsafeRawBufferPointer, from start: Int) -> [SectionBoundary] {
        var found: [SectionBoundary] = []
        let last = state.count - 1 - footerSize
        var offset = start
        while offset <= last {
            offset = nextMark(in: state, from: offset, through: last)
            if offset > last { break }
            let next = offset + footerSize
            if next == state.count - 1 || SectionHeader.isPlausible(in: state, at: next) {
                found.append(SectionBoundary(footer: offset, id: state.bigEndian32(at: offset + 1)))
            }
            offset += 1
        }
        return found
    }

    /// The first footer mark in `offset...last`, or `last + 1`. Looks at eight bytes at once: a state is scanned at every checkpoint.
    private static func nextMark(in state: UnsafeRawBufferPointer, from start: Int, through last: Int) -> Int {
        var offset = start
        while offset + 8 <= last {
            // SAFETY: `offset + 8 <= last < state.count`, and `loadUnaligned` checks the range.
            let word = state.loadUnaligned(fromByteOffset: offset, as: UInt64.self) ^ 0x7e7e_7e7e_7e7e_7e7e
            if (word &- 0x0101_0101_0101_0101) & ~word & 0x8080_8080_8080_8080 != 0 { break }
            offset += 8
        }
        while offset <= last, state[offset] != footerMark { offset += 1 }
        return offset
    }
}
