internal import Glibc

/// Memory for the data of writes, given out in the order of the writes and taken back in nearly that order: a ring of regions, each in one
/// piece.
///
/// Not locked: whoever owns it puts its calls in line.
struct WriteArena: ~Copyable {
    private struct Region {
        var start: Int
        var length: Int
        var isFree = false
    }

    private let memory: StagingArena
    private var regions: [Region] = []
    private var first = 0
    /// The number of `regions[first]`.
    private var firstNumber = 0
    private var tail = 0
    /// Bytes in use.
    private(set) var usedBytes = 0

    init(byteCount: Int) throws(HostDaemonError) { memory = try StagingArena(byteCount: byteCount) }

    /// Whether nothing is given out.
    var isEmpty: Bool { first == regions.count }
    var byteCount: Int { memory.bytes.count }

    /// A region of `length` bytes; nil when there is no room now.
    mutating func reserve(_ length: Int) -> (number: Int, bytes: UnsafeMutableRawBufferPointer)? {
        guard let start = place(for: length) else { return nil }
        regions.append(Region(start: start, length: length))
        tail = start + length
        usedBytes += length
        return (firstNumber + regions.count - first - 1, UnsafeMutableRawBufferPointer(rebasing: memory.bytes[start..<start + length]))
    }

    private mutating func place(for length: Int) -> Int? {
        guard length <= memory.bytes.count else { return nil }
        // An empty ring begins anew, so that little traffic touches little memory.
        if isEmpty { return 0 }
        let head = regions[first].start
        if tail > head {
            if memory.bytes.count - tail >= length { return tail }
            return head > length ? 0 : nil
        }
        return head - tail > length ? tail : nil
    }

    func bytes(of number: Int) -> UnsafeRawBufferPointer {
        let region = regions[first + number - firstNumber]
        return UnsafeRawBufferPointer(rebasing: memory.bytes[region.start..<region.start + region.length])
    }

    mutating func release(_ number: Int) {
        regions[first + number - firstNumber].isFree = true
        usedBytes -= regions[first + number - firstNumber].length
        while first < regions.count, regions[first].isFree {
            first += 1
            firstNumber += 1
        }
        guard first == regions.count || first >= 4096 else { return }
        regions.removeFirst(first)
        first = 0
    }
}
