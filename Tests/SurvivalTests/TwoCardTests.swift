import Demonstration
import Glibc
import HostAPI
import Testing

@testable import OutputRelay

/// A guest with two network cards, each on its own tap in its own bridge, with clients at both.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct TwoCardTests {
    /// Only the daemon dies, so that the old guest runs on behind its gates, which nobody but a later daemon takes away.
    @Test func bothCardsAreTakenOverAndBothGatesOfADeadDaemonAreFound() throws {
        let pair = try ProtectedLab(
            settings: ProtectedLab.patient, secondNetwork: SecondNetwork(), change: { $0.memoryMiB = 4608 })
        let first = try Listener(pair.lab)
        let second = try SecondNetwork.startSniffer(in: pair.lab)
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(20)
        let before = try #require(pair.status(.first))
        #expect(before.taps == [LabAddresses.tap, SecondNetwork.tap])
        #expect(before.output?.cards.map(\.tap) == before.taps)
        #expect(before.output?.cards.allSatisfy { $0.releasedFrames > 0 && $0.droppedFrames == 0 } == true, "\(before)")

        kill(pair.daemon(.first).process.pid, SIGKILL)
        let died = MonotonicTime.now()
        try pair.awaitTakeover(seconds: 60)
        #expect(pair.status(.second)?.taps == ["us-\(LabAddresses.tap)", "us-\(SecondNetwork.tap)"])
        try pair.awaitReplies(after: died, seconds: 60)
        #expect(try gates(pair) == ["\(LabAddresses.tap) closed", "\(SecondNetwork.tap) closed"])

        try pair.restart(.first)
        try pair.wait(seconds: 60, for: "the old guest's end") { pair.machines(on: .first).isEmpty }
        try pair.wait(seconds: 60, for: "the first host to be tidied up") {
            Set(pair.leftInterfaces(on: .first)).isSubset(of: SecondNetwork.interfaces) && (try? gates(pair).isEmpty) == true
        }
        let decided = try #require(pair.status(.second)?.takeover?.decidedAtNanoseconds)
        #expect(first.violations(takenOverAt: decided) == [])
        let heard = second.stop()
        #expect(heard[SecondNetwork.switchPorts.first]?.sawFrame(after: decided) == false)
        #expect(heard.values.allSatisfy { $0.frames > 0 && $0.dropped == 0 })
        let verdicts = try pair.verdicts()
        #expect(verdicts.count == 2 && verdicts.allSatisfy(\.passed), "\(verdicts.map(\.json))\n\(pair.logs)")
    }

    /// The second card has two queues, and the guest two processors that use them; its memory lies on both sides of the hole below 4 GiB.
    @Test(.enabled(if: Requirements.qemu10 != nil, "needs UNDERSTUDY_QEMU_10, which scripts/fetch-qemu10 prints"))
    func aMultiqueueCardAndMemoryAbove4GiBAreTakenOver() throws {
        let pair = try ProtectedLab(
            settings: ProtectedLab.patient, qemu: Requirements.qemu10!, secondNetwork: .multiqueue,
            change: { launch in
                launch.machine = "pc"
                launch.processors = 2
                launch.memoryMiB = 4608
            })
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(20)
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover(seconds: 60)
        try pair.awaitReplies(after: died, seconds: 60)
        let verdicts = try pair.verdicts()
        #expect(verdicts.count == 2 && verdicts[0].passed, "\(verdicts[0].json)\n\(pair.logs)")
        // Datagrams overtake each other in the queues of a multiqueue tap, protected or not.
        let second = verdicts[1]
        #expect(second.connectionSurvived && second.lost == 0 && second.duplicated == 0, "\(second.json)\n\(pair.logs)")
        #expect(second.requests > 0 && second.chainViolations == 0, "\(second.json)\n\(pair.logs)")
    }

    /// The control: the judgement of a card's clients sees when that card's gate does not hold.
    @Test func aSecondCardWhoseGateIsLeftOpenIsFoundOut() throws {
        // The daemon stands still before it sends an epoch, so nothing is committed from there on.
        let pair = try ProtectedLab(
            faults: ["host1": "epochSending:30"], settings: "detection-ms = 3000", secondNetwork: SecondNetwork())
        try pair.startClients()
        try pair.protect()
        try pair.awaitFault(on: pair.lab.host1)
        try openGate(of: SecondNetwork.tap, pair)
        try pair.expectTheSecondCardToBeFoundOut()
    }

    /// The gates on the first host.
    private func gates(_ pair: ProtectedLab) throws -> [String] {
        try pair.lab.host1.run { () throws(DemonstrationError) in
            do throws(OutputRelayError) {
                return try LeftoverRelay.findAll().map { "\($0.tap) \($0.isClosed ? "closed" : "open")" }.sorted()
            } catch {
                throw DemonstrationError(.network, "\(error)")
            }
        }
    }

    private func openGate(of tap: String, _ pair: ProtectedLab) throws {
        try pair.lab.host1.run { () throws(DemonstrationError) in
            do throws(OutputRelayError) {
                let interface = try NetworkInterface.named(tap)
                for gate in try AttachedClassifier.find(Classifier.gateName, on: interface.index, .ingress) { gate.map.state = .open }
            } catch {
                throw DemonstrationError(.network, "\(error)")
            }
        }
    }
}
