internal import Arbiter
internal import UnderstudyCore

/// What the arbiter said to one request of a protocol.
enum ArbiterReply: Sendable {
    case reading(ArbiterReading)
    case answer(ArbiterAnswer)
}

/// Asks the arbiter on a thread of its own, one request after the other, and posts the replies.
///
/// A protocol may ask again before the first reply has come; the numbers keep them apart.
final class ArbiterWorker: Sendable {
    private let requests: Mailbox<ArbiterRequest?>

    /// How long one compare-and-set may take, in nanoseconds.
    private static let timeout: UInt64 = 500_000_000

    init(
        client: any ArbiterClient, key: String, reply: @escaping @Sendable (UInt64, ArbiterReply) -> Void
    ) throws(HostDaemonError) {
        let requests = try Mailbox<ArbiterRequest?>()
        self.requests = requests
        try DedicatedThread(name: "arbiter", urgent: true) {
            while true {
                let waiting = requests.waitAndTake()
                // The protocol listens to the answer to its newest question only.
                if let request = waiting.compactMap({ $0 }).last {
                    reply(request.number, Self.perform(request.operation, client: client, key: key))
                }
                if waiting.contains(nil) { return }
            }
        }
    }

    deinit { requests.post(nil) }

    func ask(_ request: ArbiterRequest) { requests.post(request) }

    private static func perform(_ operation: ArbiterRequest.Operation, client: any ArbiterClient, key: String) -> ArbiterReply {
        switch operation {
        case .compareAndSet(let proposal):
            return .answer(client.compareAndSet(key: key, proposal: proposal, timeout: timeout))
        case .read:
            do throws(ArbiterError) {
                return .reading(.record(try client.read(key: key)))
            } catch {
                return .reading(.unknown(reason: error.description))
            }
        }
    }
}
