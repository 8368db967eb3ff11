internal import Foundation
internal import OutputRelay

/// A frame that came for the guest on the host that gives it away, on its way to the host that goes on with it.
struct ForwardedFrame: Codable, Sendable {
    /// Which of the guest's network cards it is for, in the cards' order.
    var card: Int
    /// The frame behind its virtio-net header, as `TapQueue.take` gives it.
    var bytes: Data

    /// The number of cards is what this host made taps for; the bytes may be anything that fits a tap.
    func isPlausible(cards: Int) -> Bool {
        (0..<cards).contains(card) && (TapQueue.headerBytes + 14...TapQueue.headerBytes + TapQueue.largestFrame).contains(bytes.count)
    }
}
