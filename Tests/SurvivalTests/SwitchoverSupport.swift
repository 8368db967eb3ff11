import Demonstration
import Foundation
import Glibc
import HostAPI
import Synchronization
import UnderstudyCore

/// A switchover that a test asked for on a thread of its own.
final class PendingSwitchover: Sendable {
    private let outcome = Mutex<Result<HostResult, HostAPIError>?>(nil)

    init(_ daemon: LabDaemons.Daemon, timeoutSeconds: Double = 20) {
        let request = HostRequest.switchover(SwitchoverRequest(name: ProtectedLab.machine, timeoutSeconds: timeoutSeconds))
        Thread.detachNewThread { [self] in
            let result: Result<HostResult, HostAPIError>
            do throws(HostAPIError) { result = .success(try daemon.perform(request)) } catch { result = .failure(error) }
            outcome.withLock { $0 = result }
        }
    }

    /// What became of it; nil while it is under way.
    var result: Result<HostResult, HostAPIError>? { outcome.withLock { $0 } }

    /// What went wrong; nil while it is under way or when it came about.
    var error: HostAPIError? {
        guard case .failure(let error)? = result else { return nil }
        return error
    }
}

extension ProtectedLab {
    /// A guest that is protected under live connections, on hosts that are patient with a loaded machine.
    static func moving(faults: [String: String] = [:], settings: String = patient, extraMonitor: Bool = false) throws -> ProtectedLab {
        let pair = try ProtectedLab(faults: faults, settings: settings, extraMonitor: extraMonitor)
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(5)
        return pair
    }

    /// Why a host refuses to switch over; nil when it does not.
    func refusal(_ side: Side, name: String = ProtectedLab.machine) -> HostAPIError? {
        do throws(HostAPIError) {
            _ = try daemon(side).perform(.switchover(SwitchoverRequest(name: name)))
            return nil
        } catch {
            return error
        }
    }

    /// Waits until the arbiter's record says that a host runs the guest.
    func awaitOwner(_ side: Side) throws {
        try wait(seconds: 60, for: "the record of \(host(side).name), which is \(String(describing: try? record()))") {
            guard let record = try? record() else { return false }
            return record.owner == host(side).name && record.confirmed
        }
    }

    /// Waits until each UDP client has sent so many more datagrams.
    func awaitDatagrams(_ count: Int) throws {
        func sent() -> [Int] { clients?.progress.filter { !$0.kind.isStream }.map(\.sent) ?? [] }
        let before = sent()
        try wait(seconds: 20, for: "\(count) datagrams of each client") { zip(before, sent()).allSatisfy { $1 >= $0 + count } }
    }

    /// Nothing of the guest, its gate or a standby is left on a host.
    func expectTidy(_ side: Side) throws {
        try wait(seconds: 60, for: "a tidy \(host(side).name): \(leftInterfaces(on: side)), \(machines(on: side))") {
            machines(on: side).isEmpty && leftInterfaces(on: side).isEmpty
        }
    }
}
