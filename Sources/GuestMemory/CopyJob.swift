import UnderstudyCore

/// What all shares of a copy have in common.
struct CopyJob {
    let pid: Int32
    let runs: UnsafeBufferPointer<PageRun>
    let addresses: UnsafePointer<UInt64>
}
