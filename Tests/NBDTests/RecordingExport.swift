import Glibc
import Synchronization

@testable import NBD

/// A small export in memory that notes what the server asks of it, and does not do what a test does not want it to.
final class RecordingExport: NBDExport {
    enum Call: Equatable {
        case write(offset: UInt64, length: Int, forced: Bool)
        case zeroes(offset: UInt64, length: UInt64, mayTrim: Bool, forced: Bool)
        case trim(offset: UInt64, length: UInt64)
        case flush
        case connected
        case disconnected
    }

    struct State {
        var bytes: [UInt8]
        var calls: [Call] = []
        var reserved = 0
        var abandoned = 0
        var hasMemory = true
        var failure: NBDErrorCode?
        var extents: [NBDExtent] = []
    }

    let name: String
    let byteCount: UInt64
    let isReadOnly: Bool
    let hasFastZeroes: Bool
    let state: Mutex<State>
    /// While it is held, a flush hangs.
    let hanging = Mutex(())

    init(name: String = "disk", byteCount: Int = 1 << 20, isReadOnly: Bool = false, hasFastZeroes: Bool = false) {
        self.name = name
        self.byteCount = UInt64(byteCount)
        self.isReadOnly = isReadOnly
        self.hasFastZeroes = hasFastZeroes
        state = Mutex(State(bytes: [UInt8](repeating: 0, count: byteCount)))
    }

    var calls: [Call] { state.withLock { $0.calls } }
    var bytes: [UInt8] { state.withLock { $0.bytes } }
    /// Buffers that the server has and has not given back.
    var held: Int { state.withLock { $0.reserved - $0.abandoned } }

    func reserve(length: Int) -> NBDBuffer? {
        guard state.withLock({ $0.hasMemory }) else { return nil }
        state.withLock { $0.reserved += 1 }
        return NBDBuffer(bytes: .allocate(byteCount: length, alignment: 16))
    }

    func abandon(_ buffer: NBDBuffer) {
        state.withLock { $0.abandoned += 1 }
        buffer.bytes.deallocate()
    }

    func write(_ buffer: NBDBuffer, at offset: UInt64, forceUnitAccess: Bool) -> NBDErrorCode? {
        defer { buffer.bytes.deallocate() }
        return state.withLock { state in
            state.reserved -= 1
            state.calls.append(.write(offset: offset, length: buffer.bytes.count, forced: forceUnitAccess))
            if let failure = state.failure { return failure }
            state.bytes.replaceSubrange(Int(offset)..<Int(offset) + buffer.bytes.count, with: buffer.bytes)
            return nil
        }
    }

    func read(into bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) -> NBDErrorCode? {
        state.withLock { state in
            if let failure = state.failure { return failure }
            bytes.copyBytes(from: state.bytes[Int(offset)..<Int(offset) + bytes.count])
            return nil
        }
    }

    func writeZeroes(at offset: UInt64, length: UInt64, mayTrim: Bool, forceUnitAccess: Bool) -> NBDErrorCode? {
        note(.zeroes(offset: offset, length: length, mayTrim: mayTrim, forced: forceUnitAccess))
    }

    func trim(at offset: UInt64, length: UInt64) -> NBDErrorCode? { note(.trim(offset: offset, length: length)) }

    func flush() -> NBDErrorCode? {
        let failure = note(.flush)
        hanging.withLock { _ in }
        return failure
    }

    func extents(at offset: UInt64, length: UInt64, into extents: inout [NBDExtent]) {
        extents += state.withLock { $0.extents }
    }

    func connected() { _ = note(.connected) }
    func disconnected() { _ = note(.disconnected) }

    private func note(_ call: Call) -> NBDErrorCode? {
        state.withLock { state in
            state.calls.append(call)
            return state.failure
        }
    }
}
