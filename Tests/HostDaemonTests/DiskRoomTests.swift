import Foundation
import HostAPI
import Testing

@testable import HostDaemon

/// A file system takes copies only if they fit as they are, and not without a word when they may outgrow it.
@Suite struct DiskRoomTests {
    private func room(_ available: UInt64, _ copies: (size: UInt64, allocated: UInt64?, present: UInt64)...) -> DiskRoom {
        DiskRoom(
            copies: copies.map { DiskRoom.Copy(path: "/d", byteCount: $0.size, allocated: $0.allocated, present: $0.present) },
            available: available)
    }

    @Test func `what the disks take now must fit, all of them together`() {
        #expect(room(100, (100, 40, 0)).state == .ok)
        #expect(room(99, (100, 40, 0)).state == .warning)
        #expect(room(39, (100, 40, 0)).state == .failed)
        #expect(room(99, (100, 50, 0), (100, 50, 0)).state == .failed)
        #expect(room(100, (100, 50, 0), (100, 50, 0)).state == .warning)
    }

    @Test func `an earlier copy's room counts, for its own disk only`() {
        #expect(room(60, (100, 100, 40)).state == .ok)
        #expect(room(59, (100, 100, 40)).state == .failed)
        #expect(room(0, (100, 100, 100)).state == .ok)
        #expect(room(50, (100, 100, 500), (100, 100, 0)).state == .failed)
    }

    @Test func `a primary that does not tell, or tells nonsense, is not trusted with more than a warning or a refusal`() {
        #expect(room(0, (100, nil, 0)).state == .warning)
        #expect(room(100, (100, .max, 0)).state == .ok)
        #expect(room(.max >> 10, (.max, .max, 0), (.max, .max, 0)).state == .failed)
    }

    @Test func `the numbers say what is short`() {
        let sentence = room(10 << 20, (40 << 20, 10 << 20 + 1, 0)).sentence
        #expect(sentence.contains("10 MiB are free") && sentence.contains("take 11 MiB more now and 40 MiB"), "\(sentence)")
    }

    @Test func `copies of one file system are examined together, in folders that are not there yet too`() {
        let folder = FileManager.default.temporaryDirectory.path
        let rooms = DiskRoom.examine([("\(folder)/none/a", 1 << 20, 1), ("\(folder)/none/deeper/b", 1 << 20, nil), ("/proc/none", 1, 1)])
        #expect(rooms.count == 2)
        #expect(rooms.first?.copies.count == 2 && (rooms.first?.available ?? 0) > 0)
        #expect(rooms.last?.state == .failed)
    }
}
