import Foundation
import Glibc
import Synchronization
import Testing
import UnderstudyCore

@testable import HostDaemon

/// An image of 64 KiB that holds nothing yet.
private final class HeldImage {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("understudy-held-\(UUID().uuidString)").path
    static let byteCount: UInt64 = 65_536

    init() throws { try Data(count: Int(Self.byteCount)).write(to: URL(fileURLWithPath: path)) }
    deinit { unlink(path) }

    func open() throws -> RawImage { try RawImage(shared: path, byteCount: Self.byteCount) }
    subscript(offset: Int) -> UInt8 { (try? Data(contentsOf: URL(fileURLWithPath: path)))?[offset] ?? 255 }

    func held(mostBytes: Int = 1 << 20, patience: UInt64 = 60_000_000_000, broken: @escaping @Sendable (String) -> Void = { _ in }) throws
        -> HeldWrites
    {
        try HeldWrites(images: [try open()], mostBytes: mostBytes, patience: patience, broken: broken)
    }
}

extension HeldWrites {
    fileprivate func write(_ byte: UInt8, at offset: UInt64) -> Bool {
        let data = UnsafeMutableRawBufferPointer.allocate(byteCount: 512, alignment: 512)
        data.initializeMemory(as: UInt8.self, repeating: byte)
        return append(.data, disk: 0, offset: offset, length: 512, data: data)
    }

    /// Commits and waits until the image has it.
    fileprivate func commitAndWait(through number: UInt64) {
        let done = Mutex(false)
        let box = Box(done)
        commit(through: number) { box.value.withLock { $0 = true } }
        while !box.value.withLock({ $0 }) { usleep(1_000) }
    }
}

private final class Box: Sendable {
    let value: Mutex<Bool>
    init(_ value: consuming Mutex<Bool>) { self.value = value }
}

@Suite struct HeldWritesTests {
    @Test func `before the first cut a write is answered when the image has it`() throws {
        let image = try HeldImage()
        let held = try image.held()
        defer { held.stop() }
        #expect(held.write(1, at: 0))
        #expect(image[0] == 1)
    }

    @Test func `after a cut the image gets whole committed epochs only, and then all of them`() throws {
        let image = try HeldImage()
        let held = try image.held()
        defer { held.stop() }
        #expect(held.write(1, at: 0))
        held.commitAndWait(through: held.cut())
        #expect(held.write(2, at: 0) && held.write(2, at: 512))
        let second = held.cut()
        #expect(held.write(3, at: 512))
        #expect(image[0] == 1 && image[512] == 0)
        held.commitAndWait(through: second)
        #expect(image[0] == 2 && image[512] == 2)
        #expect(held.append(.zeroes, disk: 0, offset: 0, length: 512, data: nil))
        held.commitAndWait(through: held.cut())
        #expect(image[0] == 0 && image[512] == 3)
    }

    @Test func `a host that has left writes nothing more and holds no lock, until it goes on alone with everything`() throws {
        let image = try HeldImage()
        let held = try image.held()
        defer { held.stop() }
        let first = held.cut()
        #expect(held.write(1, at: 0))
        let second = held.cut()
        #expect(throws: HostDaemonError.self) { _ = try image.open() }
        held.leave()
        while !held.hasLeft { usleep(1_000) }
        held.commit(through: first) {}
        held.commit(through: second) { Issue.record("an image that was left cannot have the epoch") }
        #expect(!held.drain(within: 50_000_000))
        held.leave()
        #expect(image[0] == 0)
        do {
            // The other host may lock it now.
            _ = try image.open()
        }
        #expect(held.write(2, at: 512))
        held.letGo([try image.open()])
        #expect(held.drain(within: 60_000_000_000))
        #expect(image[0] == 1 && image[512] == 2)
        #expect(held.write(3, at: 0))
        #expect(image[0] == 3)
    }

    @Test func `a guest that writes more than may be held waits for a commit, but never while QEMU stops it`() throws {
        let image = try HeldImage()
        let reasons = Reasons()
        let held = try image.held(mostBytes: 512, patience: 20_000_000) { reason in reasons.add(reason) }
        defer { held.stop() }
        _ = held.cut()
        #expect(held.write(1, at: 0) && held.write(2, at: 512))
        held.guest(isStopping: true)
        held.awaitRoom()
        #expect(reasons.all.isEmpty)
        held.guest(isStopping: false)
        held.awaitRoom()
        #expect(reasons.all.count == 1 && reasons.all[0].contains("waited 20 ms for a commit"))
    }

    @Test func `a write that hangs shows for how long, and is the image's fault when the guest waits for it`() throws {
        let image = try HeldImage()
        let (reasons, hang) = (Reasons(), ConditionLock())
        let hangs = Box(Mutex(true))
        let held = try HeldWrites(
            images: [try image.open()], mostBytes: 512, patience: 50_000_000,
            writing: { batch, images, step in
                step()
                hang.withLock { while hangs.value.withLock({ $0 }) { _ = hang.wait() } }
                return HeldWrites.write(batch, to: images, step: step)
            }, broken: { reasons.add($0) })
        defer { held.stop() }
        #expect(held.standstill == 0)
        _ = held.cut()
        #expect(held.write(1, at: 0) && held.write(2, at: 512))
        let first = held.cut()
        held.commit(through: first) {}
        while held.standstill < 60_000_000 { usleep(1_000) }
        #expect(reasons.all.isEmpty && !held.imagesHaveFailed)
        held.awaitRoom()
        #expect(reasons.all.count == 1 && held.imagesHaveFailed)
        // It writes still, so the image is not left before it has ended.
        held.leave()
        #expect(!held.hasLeft)
        hangs.value.withLock { $0 = false }
        hang.withLock { hang.announce() }
        while !held.hasLeft { usleep(1_000) }
        #expect(held.standstill == 0)
    }

    @Test func `a guest that waits for a commit which does not come is not the image's fault`() throws {
        let image = try HeldImage()
        let held = try image.held(mostBytes: 512, patience: 20_000_000)
        defer { held.stop() }
        _ = held.cut()
        #expect(held.write(1, at: 0) && held.write(2, at: 512))
        held.awaitRoom()
        #expect(held.failure != nil && !held.imagesHaveFailed)
    }

    @Test func `memory for what is held has a bound when nobody commits any more, and committed writes still reach the image`() throws {
        let image = try HeldImage()
        let held = try image.held(mostBytes: 1024, patience: 20_000_000)
        defer { held.stop() }
        _ = held.cut()
        #expect(held.write(1, at: 0))
        let committed = held.cut()
        #expect(held.write(2, at: 512) && held.write(2, at: 1024))
        held.awaitRoom()
        #expect(held.failure != nil && !held.lacksWrites)
        for _ in 0..<1000 { #expect(held.write(3, at: 0)) }
        #expect(held.waitingBytes == 3 * 512 && held.lacksWrites)
        // The last word of the backup came when protection had been given up already.
        held.commit(through: committed) {}
        held.letGo()
        #expect(held.drain(within: 60_000_000_000))
        #expect(image[0] == 1 && image[512] == 0)
        #expect(held.write(4, at: 0) && held.lacksWrites && image[0] == 1)
    }

    /// What the kernel keeps of a failed write could reach the image when another host's guest has it.
    @Test(arguments: [false, true]) func `an image counts as left after an error only when nothing of it can come later`(
        flushFails: Bool
    ) throws {
        let image = try HeldImage()
        let failing = Box(Mutex(true))
        let held = try HeldWrites(
            images: [try image.open()], mostBytes: 1 << 20, patience: 60_000_000_000,
            writing: { batch, images, step in
                guard failing.value.withLock({ $0 }) else { return HeldWrites.write(batch, to: images, step: step) }
                if flushFails { dup2(open("/dev/null", O_RDONLY), images[0].descriptor) }
                return HostDaemonError(.system, "an error")
            }, broken: { _ in })
        defer { held.stop() }
        #expect(!held.write(1, at: 0))
        held.leave()
        while !held.needsImages { usleep(1_000) }
        #expect(held.hasLeft != flushFails)
        failing.value.withLock { $0 = false }
        held.letGo([try image.open()])
        #expect(held.drain(within: 60_000_000_000) && image[0] == 1)
        held.leave()
        #expect(held.hasLeft)
    }

    @Test func `an image that cannot be written is told, and a write that had to be durable fails`() throws {
        let image = try HeldImage()
        let reasons = Reasons()
        let held = try image.held { reason in reasons.add(reason) }
        defer { held.stop() }
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
        var small = limit
        small.rlim_cur = 1024
        signal(SIGXFSZ, SIG_IGN)
        setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &small)
        let isDurable = held.write(1, at: 4096)
        setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
        #expect(!isDurable)
        #expect(reasons.all.count == 1)
    }
}

private final class Reasons: Sendable {
    private let reasons = Mutex<[String]>([])
    var all: [String] { reasons.withLock { $0 } }
    func add(_ reason: String) { reasons.withLock { $0.append(reason) } }
}
