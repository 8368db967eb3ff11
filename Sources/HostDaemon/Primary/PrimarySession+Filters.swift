internal import Glibc
internal import Hypervisor
internal import Logging
internal import OutputRelay
internal import QMP
internal import UnderstudyCore

/// Network cards that are on no tap: their output is held by a filter inside QEMU, which its monitor puts in, turns on and takes away.
extension PrimarySession {
    /// Where the guest's cards are, in their order, for the gates.
    func outputCards(_ machine: MachineDescription) -> [GuestOutput.Card] {
        machine.portBackends.map { backend in
            guard backend.isFilterable else { return .tap(backend.interface ?? "") }
            return .filter { [unowned self] () throws(OutputRelayError) in try attachFilter(backend) }
        }
    }

    private func attachFilter(_ backend: NetworkBackend) throws(OutputRelayError) -> FilterRelay.Connection {
        let filter = OutputFilter(netdev: backend.id)
        let sockets = try asking { qmp throws(HypervisorError) in try filter.attach(qmp) }
        return FilterRelay.Connection(
            port: GuestPorts.name(netdev: backend.id), kind: backend.type, fromGuest: sockets.fromGuest, toNetwork: sockets.toNetwork,
            hold: { [unowned self] isOn throws(OutputRelayError) in
                try asking { qmp throws(HypervisorError) in try filter.hold(isOn, qmp) }
            },
            detach: { [unowned self] () throws(OutputRelayError) in
                try asking { qmp throws(HypervisorError) in try filter.detach(qmp) }
            })
    }

    /// Asks QEMU, by the session's monitor or one of its own. A QEMU that is held answers nothing, so it is let go: filters are changed before
    /// anything is held, or when the arbiter has given this host the machine.
    private func asking<Result>(_ body: (QMPClient) throws(HypervisorError) -> Result) throws(OutputRelayError) -> Result {
        if isHeld {
            isHeld = false
            signalGuest(SIGCONT)
        }
        do throws(HypervisorError) {
            if let qmp { return try body(qmp) }
            let monitor: QMPClient
            do throws(QMPError) { monitor = try QMPClient(socketPath: qmpPath) } catch {
                throw HypervisorError(.monitorFailed, error.message, cause: error)
            }
            defer { monitor.close() }
            return try body(monitor)
        } catch {
            throw OutputRelayError(.kernel, "the output filter inside QEMU cannot be changed: \(error.message)", cause: error)
        }
    }

    /// Before the first cut, at which QEMU answers nothing: makes the gates ready. False when that failed and protection is given up.
    func isArmed(_ output: GuestOutput) throws(HostDaemonError) -> Bool {
        guard !gateIsClosed else { return true }
        do throws(OutputRelayError) {
            try output.arm()
            return true
        } catch {
            report("gate-refused", "protection is given up and the guest runs on: \(error)", level: .error)
            try happen(.backupLost(.refusedEpoch(reason: error.message)))
            return false
        }
    }

    /// Asks QEMU every 2 s whether each filter is there and on, as `GateWatch` asks the kernel for taps.
    func filtersAreDisturbed(_ now: UInt64) throws(HostDaemonError) -> Bool {
        guard gateIsClosed, !isHeld, let machine, let qmp, now - filtersSeen > 2_000_000_000 else { return false }
        filtersSeen = now
        do throws(HypervisorError) {
            for netdev in machine.filteredNetdevs where try !OutputFilter(netdev: netdev).isHolding(qmp, timeout: cutLimit) {
                mailbox.post(.gateDisturbed("the output filter at the netdev \(netdev) was taken away or turned off"))
                return true
            }
        } catch {
            // A monitor that is gone or hangs is seen at the next checkpoint.
        }
        return false
    }

    /// Takes away filters that an earlier daemon left and that let everything pass; refuses when one holds the guest's output.
    func removePassingFilters(_ machine: MachineDescription) throws(HostDaemonError) {
        guard let qmp else { return }
        do throws(HypervisorError) {
            for filter in machine.filteredNetdevs.map(OutputFilter.init) {
                // What the session before this one could not take away holds nothing: the arbiter had given this host the machine.
                let isHeld = if predecessor == nil { try filter.isHolding(qmp) } else { false }
                guard !isHeld else {
                    throw HypervisorError(
                        .outputHeld,
                        "an earlier daemon left the output of the netdev \(filter.netdev) held, and nothing tells whether this guest may go on: if no other host runs it, end its QEMU and start the machine anew"
                    )
                }
                try filter.detach(qmp)
            }
        } catch {
            throw HostDaemonError(.refused, error.message, cause: error)
        }
    }

    /// Whether a filter that an earlier daemon left holds the guest's output. A QEMU that cannot be asked may hold it: nothing opens then before
    /// the arbiter has spoken.
    func isFiltered(_ record: SessionRecord) -> Bool {
        let filters = GuestPorts.netdevs(record.taps).map(OutputFilter.init)
        guard !filters.isEmpty, record.processIsAlive else { return false }
        do throws(OutputRelayError) {
            return try asking { qmp throws(HypervisorError) in
                for filter in filters where try filter.isHolding(qmp) { return true }
                return false
            }
        } catch {
            return true
        }
    }

    /// Takes away what an earlier daemon left inside QEMU, which opens the gate.
    func removeLeftFilters() throws(OutputRelayError) {
        let filters = GuestPorts.netdevs(leftoverTaps).map(OutputFilter.init)
        guard !filters.isEmpty, processDescriptor >= 0 else { return }
        // A daemon before this one may have stopped it.
        signalGuest(SIGCONT)
        try asking { qmp throws(HypervisorError) in
            for filter in filters { try filter.detach(qmp) }
        }
    }
}
