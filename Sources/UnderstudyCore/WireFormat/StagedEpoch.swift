// SPDX-License-Identifier: Apache-2.0

/// A complete epoch in a staging arena, verified: every message is well-formed, every page lies inside its RAM block, the
/// device state has no gap, and the counts are those of `epochEnd`. There is no other way to make one.
///
/// It is a view: it is valid as long as the arena's bytes stay as they are. Iterating allocates nothing. A page may occur
/// twice in one epoch; the later one holds, so apply in order.
public struct StagedEpoch {
    public let begin: WireMessage.EpochBegin
    public let end: WireMessage.EpochEnd
    /// The epoch's messages, one after the other.
    let messages: UnsafeRawBufferPointer

    /// Verifies the messages of one epoch.
    ///
    /// - Parameters:
    ///   - messages: exactly the messages from `epochBegin` to `epochEnd`.
    ///   - blockLengths: bytes of each RAM block, by index.
    /// - Throws: `WireFormatError` for anything else than a complete and consistent epoch.
    public init(verifying messages: UnsafeRawBufferPointer, blockLengths: [UInt64]) throws(WireFormatError) {
        var check = EpochCheck()
        var position = 0
        while position < messages.count {
            let rest = UnsafeRawBufferPointer(rebasing: messages[position...])
            let header = try WireHeader.read(rest)
            try check.accept(header, UnsafeRawBufferPointer(rebasing: rest[..<header.length]), blockLengths: blockLengths)
            position += header.length
        }
        guard let begin = check.begin, let end = check.end else {
            throw WireFormatError(.wrongLength, "the epoch is not complete")
        }
        self.begin = begin
        self.end = end
        self.messages = messages
    }

    /// The identity with which an epoch began that did not become complete; nil when it does not begin like one.
    public static func identity(ofUnfinished messages: UnsafeRawBufferPointer) -> EpochIdentity? {
        do throws(WireFormatError) {
            let header = try WireHeader.read(messages)
            let message = UnsafeRawBufferPointer(rebasing: messages[..<header.length])
            guard case .epochBegin(let begin) = try WireMessage(decoding: message) else { return nil }
            return begin.identity
        } catch {
            return nil
        }
    }

    /// For messages that `EpochCheck` accepted one by one.
    init(begin: WireMessage.EpochBegin, end: WireMessage.EpochEnd, verified messages: UnsafeRawBufferPointer) {
        self.begin = begin
        self.end = end
        self.messages = messages
    }

    /// The pages in the order in which they were sent.
    public var pages: Pages { Pages(messages: messages) }
}
