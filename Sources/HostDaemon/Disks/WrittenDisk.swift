internal import NBD

/// A disk of a protected guest as QEMU's mirror sees it: a target that takes every change and is never read.
protocol WrittenDisk: NBDExport {}

extension WrittenDisk {
    var isReadOnly: Bool { false }
    /// A range of zeroes is one short message.
    var hasFastZeroes: Bool { true }

    /// What makes a write safe is its epoch's commit.
    func flush() -> NBDErrorCode? { nil }

    func read(into bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) -> NBDErrorCode? { .notSupported }

    func extents(at offset: UInt64, length: UInt64, into extents: inout [NBDExtent]) {}
}
