import Glibc

/// iproute2's `ip` in batch mode.
enum IPCommand {
    /// Runs commands (without the leading `ip`) in order, in a namespace or in the demo's own; the first failure ends the batch.
    static func run(_ commands: [String], in namespace: String? = nil, folder: String) throws(DemonstrationError) {
        let batch = "\(folder)/ip-\(namespace ?? "all").batch"
        try LabFiles.write(commands.joined(separator: "\n") + "\n", to: batch)
        let place = namespace.map { ["-n", $0] } ?? []
        let process = try LabProcess.start(["ip"] + place + ["-batch", batch], log: batch + ".log", name: "ip")
        guard let status = process.wait(milliseconds: 30_000) else {
            process.end()
            throw DemonstrationError(.timeout, "ip did not end within 30 s: \(LabFiles.tail(of: process.log))")
        }
        guard status == 0 else {
            throw DemonstrationError(.network, "ip failed (root and iproute2 are needed): \(LabFiles.tail(of: process.log))")
        }
    }
}
