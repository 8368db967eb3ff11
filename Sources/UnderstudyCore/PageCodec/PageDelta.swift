/// What changed in a page against an earlier copy of it: the bytes that differ, with the lengths of the equal stretches between them.
///
/// The format is that of QEMU's `migration/xbzrle.c`, so that a waiting QEMU applies a delta to its own memory by itself and nobody on the
/// backup needs a second copy of the guest. It is a sequence of pairs, each an equal stretch and a changed stretch: bytes to leave alone
/// (0 only in the first pair), number of changed bytes (at least 1), and the changed bytes themselves. A number has one byte below 128, else two:
/// its low seven bits with the highest bit set, then the rest, at most 127. What follows the last pair is unchanged.
public enum PageDelta {
    /// The longest delta that is made, in bytes: a page that changed more is sent whole, which costs both sides less.
    public static let maximumLength = 3072

    /// What became of a page.
    public enum Outcome: Equatable {
        case unchanged
        /// So many bytes of delta were written.
        case delta(Int)
        /// A delta would not fit the room, or not pay.
        case tooLong
    }

    private static let words = GuestPage.size / 8

    /// Describes a page by what differs from an earlier copy of it.
    ///
    /// - Parameters:
    ///   - page: `GuestPage.size` bytes, as `reference`; any alignment.
    ///   - room: where the delta goes; no more than its size and `maximumLength` is written.
    public static func encode(
        _ page: UnsafeRawPointer, against reference: UnsafeRawPointer, into room: UnsafeMutableRawBufferPointer
    ) -> Outcome {
        guard let output = room.baseAddress else { return .tooLong }
        let limit = min(room.count, maximumLength)
        var (length, described) = (0, 0)
        var word = firstDifference(page, reference, from: 0)
        guard word < words else { return .unchanged }
        while word < words {
            let first = difference(page, reference, word)
            var (last, end) = (first, word + 1)
            while end < words {
                let bits = difference(page, reference, end)
                if bits == 0 { break }
                last = bits
                end += 1
            }
            // Little-endian: the lowest byte of a word comes first in memory.
            let start = word * 8 + first.littleEndian.trailingZeroBitCount / 8
            let stop = end * 8 - last.littleEndian.leadingZeroBitCount / 8
            guard length + 4 + stop - start <= limit else { return .tooLong }
            // SAFETY: two numbers of at most two bytes each and the changed bytes fit `limit`, which `room` has; the source ends in the page.
            length = put(start - described, at: length, output)
            length = put(stop - start, at: length, output)
            copy(page + start, to: output + length, count: stop - start)
            length += stop - start
            described = stop
            word = firstDifference(page, reference, from: end)
        }
        return .delta(length)
    }

    /// Whether bytes are a delta that stays inside a page.
    public static func isValid(_ delta: UnsafeRawBufferPointer) -> Bool {
        var (position, offset) = (0, 0)
        repeat {
            guard next(delta, &position, &offset) != nil else { return false }
        } while position < delta.count
        return true
    }

    /// Writes the changed bytes into the earlier copy.
    ///
    /// - Parameter page: `GuestPage.size` bytes.
    /// - Returns: false when the delta is malformed; changes before the defect have been made then, so ask `isValid` first.
    @discardableResult
    public static func apply(_ delta: UnsafeRawBufferPointer, to page: UnsafeMutableRawPointer) -> Bool {
        var (position, offset) = (0, 0)
        repeat {
            guard let count = next(delta, &position, &offset) else { return false }
            // SAFETY: `next` has held both ranges against the delta's and the page's bounds.
            copy(delta.baseAddress! + position - count, to: page + offset - count, count: count)
        } while position < delta.count
        return true
    }

    /// Reads one pair; returns the number of changed bytes, which end at `position` of the delta and belong before `offset` of the page.
    @inline(__always)
    private static func next(_ delta: UnsafeRawBufferPointer, _ position: inout Int, _ offset: inout Int) -> Int? {
        let isFirst = position == 0
        guard let equal = number(delta, &position), isFirst || equal > 0, let changed = number(delta, &position), changed > 0,
            changed <= delta.count - position, equal + changed <= GuestPage.size - offset
        else { return nil }
        offset += equal + changed
        position += changed
        return changed
    }

    @inline(__always)
    private static func number(_ delta: UnsafeRawBufferPointer, _ position: inout Int) -> Int? {
        guard position < delta.count else { return nil }
        let low = Int(delta[position])
        position += 1
        if low < 128 { return low }
        guard position < delta.count, delta[position] < 128 else { return nil }
        position += 1
        return low & 127 | Int(delta[position - 1]) << 7
    }

    @inline(__always)
    private static func put(_ number: Int, at position: Int, _ output: UnsafeMutableRawPointer) -> Int {
        if number < 128 {
            output.storeBytes(of: UInt8(truncatingIfNeeded: number), toByteOffset: position, as: UInt8.self)
            return position + 1
        }
        output.storeBytes(of: UInt8(truncatingIfNeeded: number & 127 | 128), toByteOffset: position, as: UInt8.self)
        output.storeBytes(of: UInt8(truncatingIfNeeded: number >> 7), toByteOffset: position + 1, as: UInt8.self)
        return position + 2
    }

    /// Most stretches have a few bytes, for which a call costs more than the copy.
    @inline(__always)
    private static func copy(_ source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer, count: Int) {
        guard count <= 16 else { return destination.copyMemory(from: source, byteCount: count) }
        var done = 0
        while done + 8 <= count {
            destination.storeBytes(of: source.loadUnaligned(fromByteOffset: done, as: UInt64.self), toByteOffset: done, as: UInt64.self)
            done += 8
        }
        while done < count {
            destination.storeBytes(of: source.load(fromByteOffset: done, as: UInt8.self), toByteOffset: done, as: UInt8.self)
            done += 1
        }
    }

    @inline(__always)
    private static func difference(_ page: UnsafeRawPointer, _ reference: UnsafeRawPointer, _ word: Int) -> UInt64 {
        // SAFETY: the caller keeps `word` below the page's 512 words; the loads have no alignment to respect.
        page.loadUnaligned(fromByteOffset: word * 8, as: UInt64.self) ^ reference.loadUnaligned(fromByteOffset: word * 8, as: UInt64.self)
    }

    /// The first word from `start` on that differs; 512 when none does.
    @inline(__always)
    private static func firstDifference(_ page: UnsafeRawPointer, _ reference: UnsafeRawPointer, from start: Int) -> Int {
        var word = start
        // Eight words at a multiple of eight never straddle two lines of the cache.
        while word % 8 != 0 {
            if difference(page, reference, word) != 0 { return word }
            word += 1
        }
        while word < words {
            // SAFETY: eight words from `word` on lie inside both pages, which have a multiple of eight.
            let bits =
                page.loadUnaligned(fromByteOffset: word * 8, as: SIMD8<UInt64>.self)
                ^ reference.loadUnaligned(fromByteOffset: word * 8, as: SIMD8<UInt64>.self)
            // Folded by halves: comparing whole vectors is compiled lane by lane, ten times slower.
            let half = bits.lowHalf | bits.highHalf
            let quarter = half.lowHalf | half.highHalf
            if quarter.x | quarter.y != 0 { break }
            word += 8
        }
        while word < words, difference(page, reference, word) == 0 { word += 1 }
        return word
    }
}
