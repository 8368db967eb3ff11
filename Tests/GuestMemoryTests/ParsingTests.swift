import Testing
import UnderstudyCore

@testable import GuestMemory

@Suite struct ParsingTests {
    private let smaps = """
        7f0000000000-7f0000200000 rw-p 00000000 00:00 0 
        Size:               2048 kB
        KernelPageSize:        4 kB
        VmFlags: rd wr mr mw me ac sd
        7f0000200000-7f0000400000 rw-s 00000000 00:0f 1234                       /dev/hugepages/a file (deleted)
        KernelPageSize:     2048 kB
        7f0000600000-7f0000601000 rw-p 00000000 00:0f 99                         /memfd:x (deleted)
        """

    @Test func mappingsTellWhatIsBehindThem() {
        let mappings = MemoryMapping.parse(smaps)
        #expect(mappings.map(\.isPrivateAnonymous) == [true, false, false])
        #expect(mappings.map(\.pageSize) == [4096, 2 << 20, 4096])
    }

    @Test func aGapInARangeIsFound() {
        let mappings = MemoryMapping.parse(smaps)
        #expect(MemoryMapping.covering(start: 0x7f00_0010_0000, end: 0x7f00_0030_0000, in: mappings)?.count == 2)
        #expect(MemoryMapping.covering(start: 0x7f00_0030_0000, end: 0x7f00_0060_1000, in: mappings) == nil)
        #expect(MemoryMapping.covering(start: 0x7eff_fff0_0000, end: 0x7f00_0010_0000, in: mappings) == nil)
        #expect(MemoryMapping.covering(start: 0x7f00_0060_0000, end: 0x7f00_0060_2000, in: mappings) == nil)
    }

    @Test func hugePagesAreRegisteredWholeAndReportedInPartOnly() throws {
        let block = RAMBlock(name: "b", usedLength: 4096, totalLength: 4096, hostAddress: 0x7f00_0020_0000)
        let range = try TrackedRange.ranges(of: [block], in: MemoryMapping.parse(smaps))[0]
        #expect(range.registeredEnd - range.start == 2 << 20)
        #expect(range.end - range.start == 4096)
        #expect(!range.absentIsZero)
    }

    @Test func featuresOfAForeignUserfaultfdAreRead() {
        #expect(Userfaultfd.features(inDescription: "pos:\t0\npending:\t0\nAPI:\taa:8000b001:80000000000001ff\n") == 0xb001)
        #expect(Userfaultfd.features(inDescription: "API:\taa:0:80000000000001ff\n") == 0)
        for broken in ["", "API:", "API:\taa:xyz:1", "pos: 1"] { #expect(Userfaultfd.features(inDescription: broken) == nil) }
    }

    @Test func pageMapEntriesThatHoldOnlyAMarkerAreNoPages() {
        let present: UInt64 = 1 << 63, swapped: UInt64 = 1 << 62, protected: UInt64 = 1 << 57
        #expect(!PagemapScanner.exists(0))
        #expect(!PagemapScanner.exists(swapped | protected | 31))
        #expect(PagemapScanner.exists(swapped | protected))
        #expect(PagemapScanner.exists(swapped | 31))
        #expect(PagemapScanner.exists(present | protected | 31))
    }
}
