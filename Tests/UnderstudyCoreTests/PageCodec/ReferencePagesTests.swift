import Testing

@testable import UnderstudyCore

@Suite struct ReferencePagesTests {
    /// Holds the cache against a list in the order of use.
    @Test(arguments: [0, 1, 3, 8, 40, 100])
    func `the least recently sent page makes room, and every other one is what was sent`(capacity: Int) {
        let lengths: [UInt64] = [16 * 4096, 4096, 23 * 4096]
        let storage = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, capacity) * 4096, alignment: 4096)
        defer { storage.deallocate() }
        let pages = ReferencePages(blockLengths: lengths, storage: UnsafeMutableRawBufferPointer(rebasing: storage[..<(capacity * 4096)]))
        #expect(pages.capacity == min(capacity, 40))
        var model = Model(capacity: pages.capacity)
        var generator = WireFormatGenerator(seed: UInt64(capacity))
        for round in 0..<20_000 {
            let block = UInt16.random(in: 0...2, using: &generator)
            let page = Int.random(in: 0..<Int(lengths[Int(block)]) / 4096, using: &generator)
            let (offset, key) = (UInt64(page) * 4096, Int(block) * 1000 + page)
            switch Int.random(in: 0...20, using: &generator) {
            case 0: model.zero(key); pages.keepZero(block: block, offset: offset)
            case 1...8:
                let fill = UInt8.random(in: 1...255, using: &generator)
                [UInt8](repeating: fill, count: 4096).withUnsafeBytes { pages.keep($0.baseAddress!, block: block, offset: offset) }
                model.keep(key, fill)
            case 9 where round % 4000 < 20: model = Model(capacity: pages.capacity); pages.removeAll()
            default: #expect(Self.fill(pages.known(block: block, offset: offset)) == model.look(key), "round \(round)")
            }
            #expect(pages.count == model.order.count)
        }
    }

    /// Nil for nothing, 0 for a zero page, else the byte that fills the page.
    private static func fill(_ known: ReferencePages.Known) -> UInt8? {
        switch known {
        case .nothing: return nil
        case .zero: return 0
        case .copy(let page):
            let bytes = UnsafeRawBufferPointer(start: page, count: 4096)
            return bytes.allSatisfy { $0 == bytes[0] } ? bytes[0] : 255
        }
    }

    private struct Model {
        let capacity: Int
        var fills: [Int: UInt8] = [:]
        /// Pages with copies, the oldest first.
        var order: [Int] = []

        init(capacity: Int) { self.capacity = capacity }

        mutating func zero(_ key: Int) {
            order.removeAll { $0 == key }
            fills[key] = 0
        }

        mutating func keep(_ key: Int, _ fill: UInt8) {
            if let place = order.firstIndex(of: key) {
                // Known pages are looked at before they are kept, which is what counts as use.
                fills[order[place]] = fill
                return
            }
            fills[key] = nil
            guard capacity > 0 else { return }
            if order.count == capacity { fills[order.removeFirst()] = nil }
            order.append(key)
            fills[key] = fill
        }

        mutating func look(_ key: Int) -> UInt8? {
            if let place = order.firstIndex(of: key) { order.append(order.remove(at: place)) }
            return fills[key]
        }
    }
}
