// SPDX-License-Identifier: Apache-2.0

/// The guest's writes that still have to go to the backup, in order, with their epochs' ends.
///
/// A write that a later one of the same epoch covers exactly is dropped, since an epoch is applied as a whole or not at all. The data
/// itself lies elsewhere; the log only hands its places on.
public struct WriteLog: Sendable {
    /// One write that has not been taken yet.
    public struct Entry: Sendable, Equatable {
        public var number: UInt64
        public var kind: DiskMessage.Kind
        public var disk: UInt16
        public var offset: UInt64
        public var length: UInt64
        /// Where the data lies; the caller's own number.
        public var place: Int
    }

    public enum Item: Sendable, Equatable {
        case entry(Entry)
        /// All entries of the epoch have been taken before.
        case mark(EpochIdentity, through: UInt64)
    }

    private struct Extent: Hashable {
        var disk: UInt16
        var offset: UInt64
        var length: UInt64
    }

    private var items: [Entry?] = []
    private var marks: [(identity: EpochIdentity, through: UInt64)] = []
    private var head = 0
    private var lastNumber: UInt64 = 0
    /// The item of the pending write of the running epoch that covers exactly this extent.
    private var pending: [Extent: Int] = [:]
    /// Items before `items[0]`, so that an item keeps its number when the array is shortened.
    private var removed = 0

    /// Bytes of data that wait.
    public private(set) var waitingBytes: UInt64 = 0
    /// Writes that a later one made superfluous.
    public private(set) var coalesced: UInt64 = 0

    public init() {}

    public var isEmpty: Bool { marks.isEmpty && items[head...].allSatisfy { $0 == nil } }

    /// The number of the last write; everything up to it belongs to the epoch when the guest stands still now.
    public var boundary: UInt64 { lastNumber }

    /// Takes a write in.
    ///
    /// - Returns: the place of an earlier write's data that need not be sent any more.
    public mutating func append(_ kind: DiskMessage.Kind, disk: UInt16, offset: UInt64, length: UInt64, place: Int) -> Int? {
        lastNumber += 1
        let extent = Extent(disk: disk, offset: offset, length: length)
        let entry = Entry(number: lastNumber, kind: kind, disk: disk, offset: offset, length: length, place: place)
        var superfluous: Int?
        if let earlier = pending[extent], let old = items[earlier - removed] {
            items[earlier - removed] = nil
            waitingBytes -= old.kind == .data ? old.length : 0
            coalesced += 1
            superfluous = old.place
        }
        pending[extent] = removed + items.count
        items.append(entry)
        if kind == .data { waitingBytes += length }
        return superfluous
    }

    /// The guest stands still: what comes later belongs to the next epoch.
    public mutating func close() { pending.removeAll(keepingCapacity: true) }

    /// The epoch has been cut and counts: it consists of everything up to `entry`.
    public mutating func mark(_ identity: EpochIdentity, through entry: UInt64) { marks.append((identity, entry)) }

    /// What goes to the backup next; nil when nothing waits. A mark goes as soon as all of its epoch has gone, before what waits of the
    /// next one.
    public mutating func next() -> Item? {
        while head < items.count, items[head] == nil { head += 1 }
        if let mark = marks.first, head == items.count || mark.through < items[head]!.number {
            marks.removeFirst()
            return .mark(mark.identity, through: mark.through)
        }
        guard head < items.count, let entry = items[head] else {
            shorten()
            return nil
        }
        let extent = Extent(disk: entry.disk, offset: entry.offset, length: entry.length)
        if pending[extent] == removed + head { pending[extent] = nil }
        items[head] = nil
        head += 1
        shorten()
        if entry.kind == .data { waitingBytes -= entry.length }
        return .entry(entry)
    }

    private mutating func shorten() {
        guard head == items.count || head >= 4096 else { return }
        items.removeFirst(head)
        removed += head
        head = 0
    }
}
