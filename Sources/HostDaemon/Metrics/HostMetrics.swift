internal import HostAPI

/// The numbers of one host at one moment, as `/metrics` shows them.
struct HostMetrics {
    var host: String
    var version: String
    /// Seconds since 1970.
    var startTime: Double
    var machines: [MachineMetrics]
    /// Nil before the first question.
    var arbiterReachable: Bool?
    var certificates: [CertificateStatus]
    /// How often each kind of event happened.
    var events: [String: UInt64]
    /// How often this host took each machine over.
    var takeovers: [String: UInt64]

    var text: String {
        var out = PrometheusText()
        writeHost(&out)
        writeStates(&out)
        writeCheckpoints(&out)
        writeOutput(&out)
        return out.text
    }

    private func writeHost(_ out: inout PrometheusText) {
        out.family("understudy_build_info", .gauge, "Always 1; the labels name this host and the daemon's version.")
        out.sample("understudy_build_info", [("host", host), ("version", version)], 1)
        out.family("process_start_time_seconds", .gauge, "When the daemon started, seconds since 1970.")
        out.sample("process_start_time_seconds", [], startTime)
        if let arbiterReachable {
            out.family("understudy_arbiter_reachable", .gauge, "1 when the arbiter answered the last question, asked every ten seconds.")
            out.sample("understudy_arbiter_reachable", [], arbiterReachable ? 1 : 0)
        }
        if !certificates.isEmpty {
            out.family(
                "understudy_certificate_expiry_timestamp_seconds", .gauge,
                "When this host's certificate and its authority end, seconds since 1970.")
            for certificate in certificates {
                out.sample(
                    "understudy_certificate_expiry_timestamp_seconds", [("role", certificate.role)], Double(certificate.notAfter))
            }
        }
        out.family("understudy_events_total", .counter, "Events since the daemon started, by kind.")
        for (kind, count) in events.sorted(by: { $0.key < $1.key }) {
            out.sample("understudy_events_total", [("kind", kind)], Double(count))
        }
        out.family("understudy_takeovers_total", .counter, "Takeovers by this host since the daemon started.")
        for (machine, count) in takeovers.sorted(by: { $0.key < $1.key }) {
            out.sample("understudy_takeovers_total", [("machine", machine)], Double(count))
        }
    }

    private func writeStates(_ out: inout PrometheusText) {
        out.family("understudy_machine_state", .gauge, "1 for the state that the machine is in on this host.")
        for machine in machines {
            for state in MachineStatus.State.allCases {
                out.sample(
                    "understudy_machine_state", labels(machine) + [("state", state.rawValue)], machine.status.state == state ? 1 : 0)
            }
        }
        gauge(&out, "understudy_machine_protected", "1 while the death of the host that runs the guest would be survived.") {
            // A standby that could take over is the other half of a protected machine.
            $0.status.protected || $0.status.state == .standby ? 1 : 0
        }
        gauge(&out, "understudy_machine_generation", "The generation of the arbiter's record.") { Double($0.status.generation) }
        gauge(&out, "understudy_machine_committed_epoch", "The last committed epoch of this protection.") { Double($0.status.epoch) }
        gauge(&out, "understudy_machine_last_commit_age_seconds", "Time since the last epoch was committed.") { $0.lastCommitAge }
        gauge(&out, "understudy_machine_synchronisation_remaining_bytes", "Memory that is still to be copied before protection begins.") {
            $0.status.synchronisation.map { Double($0.remainingBytes) }
        }
    }

    private func writeCheckpoints(_ out: inout PrometheusText) {
        counter(&out, "understudy_machine_checkpoints_total", "Checkpoints taken since protection began.") {
            $0.checkpoints.map { Double($0) }
        }
        let paced = machines.filter { !$0.decisions.isEmpty }
        if !paced.isEmpty {
            out.family("understudy_machine_epochs_total", .counter, "Epochs since protection began, by what decided when they ended.")
        }
        for machine in paced {
            for (reason, count) in machine.decisions.sorted(by: { $0.key < $1.key }) {
                out.sample("understudy_machine_epochs_total", labels(machine) + [("reason", reason)], Double(count))
            }
        }
        counter(&out, "understudy_machine_sent_bytes_total", "Bytes of checkpoints handed to the link since protection began.") {
            $0.sentBytes.map { Double($0) }
        }
        writeCompression(&out)
        counter(
            &out, "understudy_machine_disk_written_bytes_total",
            "Bytes of disk writes handed to the link since protection began, the first copy included."
        ) {
            $0.status.disks?.first.map { Double($0.replicatedBytes) }
        }
        gauge(&out, "understudy_machine_disk_differing_bytes", "Bytes of the disks that their copies did not hold when protection began.") {
            $0.status.disks?.compactMap(\.differingBytes).reduce(0) { $0 + Double($1) }
        }
        gauge(&out, "understudy_machine_disk_skipped_bytes", "Bytes of the disks that were not sent, since their copies held them.") {
            $0.status.disks?.compactMap(\.skippedBytes).reduce(0) { $0 + Double($1) }
        }
        gauge(&out, "understudy_machine_disk_backlog_bytes", "Bytes of disk writes that wait for the link.") {
            $0.status.disks?.first.map { Double($0.backlogBytes) }
        }
        gauge(&out, "understudy_machine_device_state_bytes", "Size of the last device state.") { $0.deviceStateBytes.map { Double($0) } }
        counter(&out, "understudy_machine_clock_lost_seconds_total", "What the guest's clock has lost in pauses on this host.") {
            $0.clockLostSeconds
        }
        counter(&out, "understudy_machine_clock_corrected_seconds_total", "What the guest's agent has taken back of it.") {
            $0.status.clock?.correctedSeconds
        }
        histogram(&out, "understudy_machine_pause_seconds", "How long the guest stood still, QEMU's STOP to RESUME.", \.pause)
        histogram(&out, "understudy_machine_epoch_seconds", "From one cut to the next.", \.epoch)
        histogram(&out, "understudy_machine_commit_seconds", "From the cut to the backup's acknowledgement.", \.commit)
        histogram(&out, "understudy_machine_dirty_pages", "Pages of 4 KiB that the guest changed in an epoch.", \.dirtyPages)
    }

    private func writeCompression(_ out: inout PrometheusText) {
        counter(
            &out, "understudy_machine_dirty_bytes_total",
            "Bytes of changed pages and of device states since protection began, before any compression."
        ) { $0.status.compression.map { Double($0.dirtyBytes) } }
        counter(&out, "understudy_machine_wire_bytes_total", "Bytes that went to the link for them.") {
            $0.status.compression.map { Double($0.wireBytes) }
        }
        gauge(&out, "understudy_machine_reference_bytes", "Memory that holds pages as they were sent last.") {
            $0.status.compression.map { Double($0.referenceBytes) }
        }
        byKind(&out, "understudy_machine_pages_total", "Changed pages by what was sent of them.", label: "sent") { status in
            [
                ("nothing", status.unchangedPages), ("zero", status.zeroPages), ("delta", status.deltaPages), ("whole", status.wholePages),
            ]
        }
        byKind(&out, "understudy_machine_records_total", "Messages by how they were packed.", label: "packing") { status in
            [("none", status.plainRecords), ("lz4", status.lz4Records), ("zstd", status.zstdRecords)]
        }
    }

    private func byKind(
        _ out: inout PrometheusText, _ name: String, _ help: String, label: String, _ values: (CompressionStatus) -> [(String, UInt64)]
    ) {
        let samples = machines.compactMap { machine in machine.status.compression.map { (labels(machine), values($0)) } }
        guard !samples.isEmpty else { return }
        out.family(name, .counter, help)
        for (labels, values) in samples {
            for (kind, value) in values { out.sample(name, labels + [(label, kind)], Double(value)) }
        }
    }

    private func writeOutput(_ out: inout PrometheusText) {
        gauge(&out, "understudy_machine_held_frames", "Frames that wait for their epoch.") { $0.output.map { Double($0.heldFrames) } }
        gauge(&out, "understudy_machine_held_bytes", "Bytes of the frames that wait.") { $0.output.map { Double($0.heldBytes) } }
        counter(&out, "understudy_machine_released_frames_total", "Frames that left after their epoch was committed.") {
            $0.output.map { Double($0.releasedFrames) }
        }
        counter(&out, "understudy_machine_dropped_frames_total", "Frames dropped since output-mib was full.") {
            $0.output.map { Double($0.droppedFrames) }
        }
    }

    private func labels(_ machine: MachineMetrics) -> [(String, String)] {
        [("machine", machine.status.name), ("role", machine.status.role.rawValue)]
    }

    private func gauge(_ out: inout PrometheusText, _ name: String, _ help: String, _ value: (MachineMetrics) -> Double?) {
        family(&out, name, .gauge, help, value)
    }

    private func counter(_ out: inout PrometheusText, _ name: String, _ help: String, _ value: (MachineMetrics) -> Double?) {
        family(&out, name, .counter, help, value)
    }

    private func family(
        _ out: inout PrometheusText, _ name: String, _ kind: PrometheusText.Kind, _ help: String, _ value: (MachineMetrics) -> Double?
    ) {
        let samples = machines.compactMap { machine in value(machine).map { (labels(machine), $0) } }
        guard !samples.isEmpty else { return }
        out.family(name, kind, help)
        for (labels, value) in samples { out.sample(name, labels, value) }
    }

    private func histogram(_ out: inout PrometheusText, _ name: String, _ help: String, _ which: (CheckpointHistograms) -> BucketHistogram)
    {
        let samples = machines.compactMap { machine in machine.histograms.map { (labels(machine), which($0)) } }
        guard !samples.isEmpty else { return }
        out.family(name, .histogram, help)
        for (labels, histogram) in samples { out.histogram(name, labels, histogram) }
    }
}
