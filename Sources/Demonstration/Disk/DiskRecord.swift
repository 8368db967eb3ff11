/// What the disk of a run's survivor holds.
public struct DiskRecord: Sendable {
    /// The records of the guest's journal, in the order of the file.
    public var journal: [ChainRecord]
    /// Whether `e2fsck -fn` found nothing.
    public var isClean: Bool
    /// What the check printed.
    public var report: String

    public init(journal: [ChainRecord], isClean: Bool, report: String = "") {
        self.journal = journal
        self.isClean = isClean
        self.report = report
    }
}
