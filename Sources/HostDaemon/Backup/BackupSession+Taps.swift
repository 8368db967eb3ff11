internal import HostAPI
internal import Hypervisor
internal import Logging
internal import OutputRelay

/// The waiting standby's network: one deaf and mute tap per card.
extension BackupSession {
    /// Makes a tap for every card, in this host's bridges. What was made when a later one fails goes with the session.
    func makeTaps(_ overrides: inout StandbyOverrides) throws(HostDaemonError) {
        let backends = preparation.machine.tapBackends
        guard !preparation.machine.ports.isEmpty else {
            throw HostDaemonError(.refused, "the machine has no network card that can be held")
        }
        var names = StandbyTapNames()
        for backend in backends {
            guard let primary = backend.interface, names.chosen[primary] == nil else {
                throw HostDaemonError(.refused, "two network cards of the machine share the tap \(backend.interface ?? "")")
            }
            let bridge = try bridge(of: primary)
            do throws(OutputRelayError) {
                let configured = context.configuration.standby.taps[primary]
                let isTaken = { (name: String) throws(OutputRelayError) -> Bool in try Self.isTaken(name) }
                guard let name = try names.choose(for: primary, configured: configured, isTaken: isTaken) else {
                    throw OutputRelayError(.interfaceExists, "every name made of it is taken: name a free one under `standby.taps`")
                }
                taps.append(try StandbyTap.create(name: name, bridge: bridge, queues: backend.queues))
            } catch {
                throw HostDaemonError(
                    .network, "the standby's tap for \(primary) cannot be made in the bridge \(bridge): \(error)", cause: error)
            }
        }
        for (primary, name) in names.chosen { overrides.taps[primary] = name }
        ports = preparation.machine.ports.map { names.chosen[$0] ?? $0 }
        publish { [ports] in $0.taps = ports }
    }

    /// The bridge of this host for the standby of one of the primary's taps.
    private func bridge(of primary: String) throws(HostDaemonError) -> String {
        guard let theirs = preparation.bridges[primary] else {
            throw HostDaemonError(.peer, "\(preparation.primary) does not say in which bridge its tap \(primary) is")
        }
        return context.configuration.standby.bridges[theirs] ?? context.configuration.standby.bridge ?? theirs
    }

    /// Whether the name belongs to an interface that is not ours or that a QEMU uses; a tap that an earlier standby left is removed.
    private static func isTaken(_ name: String) throws(OutputRelayError) -> Bool {
        do throws(OutputRelayError) {
            try StandbyTap.remove(name: name)
            return false
        } catch {
            if error.code == .notATap || error.code == .gateInUse { return true }
            throw error
        }
    }

    func removeTaps() {
        for tap in taps {
            do throws(OutputRelayError) {
                try tap.remove()
            } catch {
                report("tap-left", "the standby's tap \(tap.name) could not be removed: \(error)", level: .warning)
            }
        }
        taps = []
    }
}
