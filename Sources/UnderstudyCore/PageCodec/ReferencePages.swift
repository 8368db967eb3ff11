/// The pages as they were sent last: what the standby will hold once it has applied everything that is on its way.
///
/// A bounded cache. When it is full the page that was sent the longest time ago makes room; one that is not here is sent whole. Zero pages
/// take no room. Everything is allocated when it is made: 4 bytes for each page of the guest, 12 for each page of room.
///
/// Owned by the thread that sends. An epoch that was encoded and not sent whole leaves it wrong: `removeAll`, or end the stream.
public final class ReferencePages: @unchecked Sendable {
    // SAFETY: `@unchecked Sendable` since one thread at a time owns it, together with the encoder that uses it.

    /// What is known of a page at the backup.
    public enum Known {
        case nothing
        case zero
        case copy(UnsafeMutableRawPointer)
    }

    /// Pages that are held; zero pages are not counted.
    public private(set) var count = 0
    /// Pages for which there is room.
    public let capacity: Int

    let storage: UnsafeMutableRawBufferPointer
    /// First entry of each RAM block in `entries`.
    private let firstEntry: [Int]
    /// For each page of the guest: 0 nothing, 1 zero, else its slot + 2.
    private let entries: UnsafeMutableBufferPointer<UInt32>
    /// For each slot the page in it, and its neighbours in the order of use; the list is a ring through `ends`.
    private let slots: UnsafeMutableBufferPointer<Slot>
    private var neverUsed = 0
    private var freed: UInt32
    private var ends: UInt32 { UInt32(capacity) }

    private struct Slot {
        var entry: UInt32
        var newer: UInt32
        var older: UInt32
    }

    /// - Parameters:
    ///   - blockLengths: bytes of each RAM block, by index.
    ///   - storage: room for the copies, whole pages; the caller keeps it as long as this object lives. Nothing of it is touched before it is needed.
    public init(blockLengths: [UInt64], storage: UnsafeMutableRawBufferPointer) {
        var pages = 0
        firstEntry = blockLengths.map { length in
            defer { pages += Int(length) / GuestPage.size }
            return pages
        }
        precondition(pages < Int(UInt32.max) - 2, "a guest of 16 TiB or more")
        capacity = min(storage.count / GuestPage.size, pages)
        self.storage = storage
        entries = .allocate(capacity: max(pages, 1))
        entries.initialize(repeating: 0)
        slots = .allocate(capacity: capacity + 1)
        slots.initialize(repeating: Slot(entry: 0, newer: UInt32(capacity), older: UInt32(capacity)))
        freed = UInt32(capacity)
    }

    deinit {
        entries.deallocate()
        slots.deallocate()
    }

    /// What the backup has of a page; it counts as used now.
    public func known(block: UInt16, offset: UInt64) -> Known {
        let entry = entry(block, offset)
        switch entries[entry] {
        case 0: return .nothing
        case 1: return .zero
        case let value:
            let slot = value - 2
            unlink(slot)
            linkAsNewest(slot)
            return .copy(content(of: slot))
        }
    }

    /// The page was sent as zero.
    public func keepZero(block: UInt16, offset: UInt64) {
        let entry = entry(block, offset)
        release(entry)
        entries[entry] = 1
    }

    /// The page was sent with this content, `GuestPage.size` bytes.
    public func keep(_ page: UnsafeRawPointer, block: UInt16, offset: UInt64) {
        let entry = entry(block, offset)
        let slot: UInt32
        if entries[entry] > 1 {
            slot = entries[entry] - 2
        } else {
            entries[entry] = 0
            guard let room = takeSlot() else { return }
            slot = room
            slots[Int(slot)].entry = UInt32(entry)
            entries[entry] = slot + 2
            linkAsNewest(slot)
        }
        content(of: slot).copyMemory(from: page, byteCount: GuestPage.size)
    }

    /// Forgets everything.
    public func removeAll() {
        entries.update(repeating: 0)
        slots.update(repeating: Slot(entry: 0, newer: ends, older: ends))
        (count, neverUsed, freed) = (0, 0, ends)
    }

    private func entry(_ block: UInt16, _ offset: UInt64) -> Int { firstEntry[Int(block)] + Int(offset) / GuestPage.size }

    private func content(of slot: UInt32) -> UnsafeMutableRawPointer {
        // SAFETY: slots are numbered below `capacity`, for each of which `storage` has a page.
        storage.baseAddress! + Int(slot) * GuestPage.size
    }

    private func takeSlot() -> UInt32? {
        if freed != ends {
            defer { freed = slots[Int(freed)].older }
            count += 1
            return freed
        }
        if neverUsed < capacity {
            neverUsed += 1
            count += 1
            return UInt32(neverUsed - 1)
        }
        let oldest = slots[capacity].newer
        guard oldest != ends else { return nil }
        unlink(oldest)
        entries[Int(slots[Int(oldest)].entry)] = 0
        return oldest
    }

    private func release(_ entry: Int) {
        guard entries[entry] > 1 else { return }
        let slot = entries[entry] - 2
        unlink(slot)
        slots[Int(slot)].older = freed
        freed = slot
        count -= 1
    }

    private func unlink(_ slot: UInt32) {
        let (newer, older) = (slots[Int(slot)].newer, slots[Int(slot)].older)
        slots[Int(newer)].older = older
        slots[Int(older)].newer = newer
    }

    private func linkAsNewest(_ slot: UInt32) {
        let newest = slots[capacity].older
        slots[Int(slot)].older = newest
        slots[Int(slot)].newer = ends
        slots[Int(newest)].newer = slot
        slots[capacity].older = slot
    }
}
