// SPDX-License-Identifier: Apache-2.0

/// How long an epoch takes to commit as a straight line over its pages, from the last epochs: exponentially weighted linear regression.
struct CommitCost: Sendable, Equatable {
    /// What one more page costs, in nanoseconds; never negative.
    private(set) var perPage = 0.0
    /// What an epoch without pages costs, in nanoseconds; never negative.
    private(set) var base = 0.0
    private var (pages, time, squares, products) = (0.0, 0.0, 0.0, 0.0)
    private var isEmpty = true

    /// The weight of the newest epoch.
    private static let weight = 1.0 / 16

    mutating func observe(pages count: Int, nanoseconds: UInt64) {
        let (x, y) = (Double(count), Double(nanoseconds))
        let weight = isEmpty ? 1 : Self.weight
        isEmpty = false
        pages += weight * (x - pages)
        time += weight * (y - time)
        squares += weight * (x * x - squares)
        products += weight * (x * y - products)
        let variance = squares - pages * pages
        // Epochs that are all alike say nothing of the slope: the whole cost is then the pages', which errs on the side of short epochs.
        if variance > 0.01 * pages * pages, variance > 1 {
            perPage = min(max(0, (products - pages * time) / variance), time / max(pages, 1))
        } else {
            perPage = time / max(pages, 1)
        }
        base = max(0, time - perPage * pages)
    }
}
