internal import Foundation
internal import OutputRelay

/// Takes what the world sends to a guest that stands still for a planned move, so that the other host can hand it to the guest there.
///
/// The frames wait in the queues of the guest's taps, which its stopped QEMU does not read, but for one frame per queue, which is seen on its way.
/// Until the other host is asked to go on they stay there: a guest that runs on here after all gets every one of them.
final class InputForwarding {
    /// One of the guest's network cards.
    private struct Card {
        let queues: [TapQueue]
        let witness: TapWitness
    }

    /// What is taken at most, in bytes: the rest is lost, as on a link that is too slow.
    static let limit = 8 << 20
    /// One message holds so many bytes of frames, and at most one frame more.
    private static let messageBytes = 512 << 10

    private var cards: [Card] = []
    /// The other host was asked to go on.
    private var isOrdered = false
    private var room = InputForwarding.limit

    /// - Parameter taps: the guest's taps, in its cards' order.
    init(taps: [String], process: Int32, processDescriptor: CInt) throws(OutputRelayError) {
        for tap in taps {
            cards.append(
                Card(queues: try TapQueue.borrow(tap, from: process, processDescriptor), witness: try TapWitness(tap: tap)))
        }
    }

    /// The guest has just been stopped by QEMU: it got everything that came before.
    func guestStopped() {
        for card in cards { card.witness.forget() }
    }

    /// What to wait for: nothing before the other host was asked.
    var descriptors: [CInt] { isOrdered ? cards.flatMap(\.queues).map(\.number) : [] }

    /// What waits now, in messages. The first call asks for QEMU to stand still (SIGSTOP).
    func take() -> [[ForwardedFrame]] {
        defer { isOrdered = true }
        var messages: [[ForwardedFrame]] = []
        var bytes = Self.messageBytes
        for (number, card) in cards.enumerated() {
            for frame in take(from: card) {
                if bytes >= Self.messageBytes {
                    messages.append([])
                    bytes = 0
                }
                messages[messages.count - 1].append(ForwardedFrame(card: number, bytes: Data(frame)))
                bytes += frame.count
            }
        }
        if room <= 0 { cards = [] }
        return messages
    }

    private func take(from card: Card) -> [[UInt8]] {
        var frames: [[UInt8]] = []
        do throws(OutputRelayError) {
            for queue in card.queues {
                while room > 0, let frame = try queue.take() {
                    frames.append(frame)
                    room -= frame.count
                }
            }
        } catch {
            // The tap has gone, and what waited there with it.
            room = 0
        }
        return isOrdered ? frames : inHands(of: card, besides: frames) + frames
    }

    /// What QEMU had read already when it was stopped: it was seen going into the queue, and is not there any more.
    private func inHands(of card: Card, besides waiting: [[UInt8]]) -> [[UInt8]] {
        card.witness.seen(first: card.queues.count).filter { seen in
            let frame = seen.dropFirst(TapQueue.headerBytes)
            return !waiting.contains { $0.dropFirst(TapQueue.headerBytes) == frame }
        }
    }
}
