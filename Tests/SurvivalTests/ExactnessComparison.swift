import Glibc
import GuestMemory
import UnderstudyCore

@testable import HostDaemon
@testable import Hypervisor

/// Takes checkpoints of a pair and compares the memories, with the guest standing at its cut while its memory is read.
final class ExactnessComparison {
    private let pair: ExactnessPair
    private let image: ExactnessImage
    private let standbyBlocks: [RAMBlock]
    private(set) var count = 0

    init(_ pair: ExactnessPair) throws {
        self.pair = pair
        image = ExactnessImage(blocks: pair.machine.ramBlocks)
        standbyBlocks = try pair.standbyReader().blocks
    }

    var byteCount: Int { image.byteCount }

    /// One checkpoint; with `comparing` the pages in which the standby differs from the primary at the cut.
    ///
    /// - Parameter adding: a page sent in addition, whether it changed or not.
    func checkpoint(
        comparing: Bool, adding extra: ExactnessImage.Difference? = nil
    ) throws -> (CheckpointEngine.Cut, [ExactnessImage.Difference]) {
        guard comparing else { return (try pair.checkpoint(), []) }
        let cut = try cutTakingImage()
        if let extra {
            let epoch = SentEpoch(pair, capacity: pair.engine.runs.pageCount + 1)
            let block = block(of: extra)
            epoch.add(PageRun(block: UInt16(block), firstPage: UInt32(extra.page), count: 1), image.page(block: block, extra.page))
            epoch.addAll(except: nil)
            try epoch.commit(deviceStateBytes: cut.deviceStateBytes)
        } else {
            try pair.commit(
                runs: pair.engine.runs.runs, pages: UnsafeRawBufferPointer(pair.engine.arena.bytes),
                deviceStateBytes: cut.deviceStateBytes)
        }
        count += 1
        return (cut, try differences())
    }

    /// The negative control: a page whose content changed is left out of its epoch.
    func checkpointWithholdingOnePage() throws -> (ExactnessImage.Difference, [ExactnessImage.Difference]) {
        try pair.standby.waitUntilPlaced()
        let cut = try cutTakingImage()
        // The standby still has the epoch before, so these are the pages that really changed.
        guard let victim = try differences().randomElement() else { throw SurvivalFailure("nothing changed in an epoch") }
        let epoch = SentEpoch(pair, capacity: pair.engine.runs.pageCount)
        epoch.addAll(except: (block(of: victim), victim.page))
        try epoch.commit(deviceStateBytes: cut.deviceStateBytes)
        return (victim, try differences())
    }

    private func cutTakingImage() throws -> CheckpointEngine.Cut {
        let reader = try pair.primaryReader()
        var failure: (any Error)?
        let cut = try pair.cut(witness: { do { try self.image.take(from: reader) } catch { failure = error } })
        if let failure { throw failure }
        return cut
    }

    private func differences() throws -> [ExactnessImage.Difference] {
        try pair.standby.waitUntilPlaced(timeout: .seconds(60))
        return try image.differences(to: try MemoryReader(pid: pair.standby.pid, blocks: standbyBlocks))
    }

    private func block(of page: ExactnessImage.Difference) -> Int { image.blocks.firstIndex { $0.name == page.block }! }
}

/// An epoch that differs from the one the engine found: a page more or less.
private final class SentEpoch {
    private let pair: ExactnessPair
    private let runs: PageRunList
    private let pages: UnsafeMutableRawBufferPointer

    init(_ pair: ExactnessPair, capacity: Int) {
        self.pair = pair
        runs = PageRunList(capacity: capacity)
        pages = .allocate(byteCount: max(1, capacity) * 4096, alignment: 4096)
    }

    deinit { pages.deallocate() }

    func add(_ run: PageRun, _ content: UnsafeRawBufferPointer) {
        memcpy(pages.baseAddress! + runs.pageCount * 4096, content.baseAddress!, 4096)
        runs.append(run)
    }

    func addAll(except omitted: (block: Int, page: UInt64)?) {
        var position = 0
        for run in pair.engine.runs.runs {
            for page in run.firstPage..<run.firstPage + run.count {
                let content = UnsafeRawBufferPointer(rebasing: pair.engine.arena.bytes[position..<position + 4096])
                position += 4096
                if let omitted, omitted.block == Int(run.block), omitted.page == UInt64(page) { continue }
                add(PageRun(block: run.block, firstPage: page, count: 1), content)
            }
        }
    }

    func commit(deviceStateBytes: Int) throws {
        try pair.commit(runs: runs.runs, pages: UnsafeRawBufferPointer(pages), deviceStateBytes: deviceStateBytes)
    }
}
