@testable import Demonstration

/// A flawless run that tests then damage: four clients whose requests the guest served in turn, with a silence of 200 ms at the death.
struct HistoryFixture {
    var run: RunRecord

    static let death: UInt64 = 1_500_000_000

    init(requestsPerClient: Int = 100) {
        var records = [ChainRecord]()
        var digest = Digest.zero
        var clients = ClientKind.allCases.enumerated().map { index, kind in
            ClientRecord(kind: kind, client: UInt64(index + 1), sentAt: [], replies: [])
        }
        for number in 1...requestsPerClient {
            for index in clients.indices {
                let counter = UInt64(records.count + 1)
                let record = ChainRecord(
                    counter: counter, client: clients[index].client, request: UInt64(number),
                    random: GuestRandom(high: counter &* 0x9e37_79b9_7f4a_7c15, low: ~counter))
                digest = record.digest(after: digest)
                records.append(record)
                let sent = 1_000_000_000 + UInt64(number) * 10_000_000
                let late: UInt64 = sent > Self.death ? 200_000_000 : 0
                clients[index].sentAt.append(sent)
                clients[index].replies.append(
                    ReceivedReply(
                        request: UInt64(number), counter: counter, random: record.random, digest: digest,
                        receivedAt: sent + 1_000_000 + late))
            }
        }
        run = RunRecord(
            clients: clients, chain: SurvivorChain(records: records, head: digest), times: RunTimes(diedAt: Self.death),
            daemons: DaemonFigures(), qemu: "7.2.22", seed: 7)
    }

    var verdict: Verdict { Verdict.judge(run) }

    func index(of kind: ClientKind) -> Int {
        guard let index = run.clients.firstIndex(where: { $0.kind == kind }) else { preconditionFailure("the fixture has every kind") }
        return index
    }
}
