extension ClientRecord {
    func survived(deathAt: UInt64?) -> Bool {
        guard connectionError == nil, let last = replies.last else { return false }
        guard let deathAt else { return true }
        return last.receivedAt > deathAt
    }

    /// Requests without any reply.
    var unanswered: Int {
        let answered = Set(replies.lazy.map(\.request).filter { 1...UInt64(max(sentAt.count, 1)) ~= $0 })
        return sentAt.count - min(answered.count, sentAt.count)
    }

    /// Replies to requests that had been answered before.
    var duplicated: Int {
        var seen = Set<UInt64>()
        return replies.reduce(0) { seen.insert($1.request).inserted ? $0 : $0 + 1 }
    }

    /// Replies that arrived after the reply to a later request.
    var reordered: Int {
        var highest: UInt64 = 0
        var count = 0
        for reply in replies {
            if reply.request < highest { count += 1 }
            highest = max(highest, reply.request)
        }
        return count
    }

    /// The longest time in milliseconds between two replies of which the second came after `instant`; nil with fewer than two replies.
    func longestSilence(endingAfter instant: UInt64?) -> Double? {
        var longest: Double?
        for (earlier, later) in zip(replies, replies.dropFirst()) where later.receivedAt > instant ?? 0 {
            longest = max(longest ?? 0, Verdict.milliseconds(from: earlier.receivedAt, to: later.receivedAt))
        }
        return longest
    }

    /// Round-trip times in milliseconds of the requests within a time window.
    func roundTrips(sentFrom start: UInt64, receivedUntil end: UInt64) -> [Double] {
        replies.compactMap { reply in
            guard 1...UInt64(max(sentAt.count, 1)) ~= reply.request, reply.receivedAt <= end else { return nil }
            let sent = sentAt[Int(reply.request) - 1]
            return sent >= start ? Verdict.milliseconds(from: sent, to: reply.receivedAt) : nil
        }
    }
}
