import Testing
import UnderstudyCore

@Suite struct PageTests {
    @Test func anyByteThatIsNotZeroMakesAPageNotZero() {
        let page = UnsafeMutableRawPointer.allocate(byteCount: GuestPage.size, alignment: 4096)
        defer { page.deallocate() }
        page.initializeMemory(as: UInt8.self, repeating: 0, count: GuestPage.size)
        #expect(isZeroPage(page))
        for index in 0..<GuestPage.size {
            page.storeBytes(of: 1 << (index % 8), toByteOffset: index, as: UInt8.self)
            #expect(!isZeroPage(page))
            page.storeBytes(of: 0, toByteOffset: index, as: UInt8.self)
        }
    }

    @Test func theZeroTestLooksAtItsOwnPageOnly() {
        let pages = UnsafeMutableRawPointer.allocate(byteCount: 3 * GuestPage.size, alignment: 4096)
        defer { pages.deallocate() }
        pages.initializeMemory(as: UInt8.self, repeating: 255, count: 3 * GuestPage.size)
        (pages + GuestPage.size).initializeMemory(as: UInt8.self, repeating: 0, count: GuestPage.size)
        #expect(isZeroPage(pages + GuestPage.size))
        #expect(!isZeroPage(pages + GuestPage.size - 1))
        #expect(!isZeroPage(pages + GuestPage.size + 1))
    }

    @Test func runsThatFollowOnAreJoinedAndAFullListSaysSo() {
        let list = PageRunList(capacity: 2)
        #expect(list.append(PageRun(block: 0, firstPage: 3, count: 2)))
        #expect(list.append(PageRun(block: 0, firstPage: 5, count: 1)))
        #expect(list.append(PageRun(block: 1, firstPage: 6, count: 1)))
        #expect(!list.append(PageRun(block: 1, firstPage: 8, count: 1)))
        #expect(list.append(PageRun(block: 1, firstPage: 7, count: 1)), "joins the last one")
        #expect(list.pageCount == 5)
        #expect(Array(list.runs) == [PageRun(block: 0, firstPage: 3, count: 3), PageRun(block: 1, firstPage: 6, count: 2)])
        list.removeAll()
        #expect(list.runs.isEmpty && list.pageCount == 0)
    }

    @Test func theWorstCaseIsEveryOtherPage() {
        let block = RAMBlock(name: "a", usedLength: 5 * 4096, totalLength: 8 * 4096, hostAddress: 0)
        #expect(PageRunList.worstCase(of: [block, block]) == 6)
    }
}
