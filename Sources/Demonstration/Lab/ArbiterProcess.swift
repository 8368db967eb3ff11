import Glibc

/// etcd as the lab's arbiter.
enum ArbiterProcess {
    static func start(in host: LabHost) throws(DemonstrationError) -> LabProcess {
        guard LabSystem.hasProgram("etcd") else {
            throw DemonstrationError(.prerequisiteMissing, "etcd is missing: apt-get install etcd-server")
        }
        let peer = "http://127.0.0.1:2380"
        let process = try host.spawn(
            [
                "etcd", "--name", "arbiter", "--data-dir", host.folder + "/etcd", "--log-level", "warn",
                "--listen-client-urls", LabAddresses.arbiterEndpoint, "--advertise-client-urls", LabAddresses.arbiterEndpoint,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "arbiter=\(peer)",
                // A single member waits for its election time-out before it serves.
                "--heartbeat-interval", "20", "--election-timeout", "200",
            ], log: "etcd.log")
        let deadline = MonotonicTime.now() + 30_000_000_000
        while try !host.run({ () throws(DemonstrationError) in isHealthy() }) {
            guard process.isRunning else {
                throw DemonstrationError(.process, "etcd ended: \(LabFiles.tail(of: process.log))")
            }
            guard MonotonicTime.now() < deadline else {
                process.end()
                throw DemonstrationError(.timeout, "etcd did not answer within 30 s: \(LabFiles.tail(of: process.log))")
            }
            MonotonicTime.sleep(milliseconds: 20)
        }
        return process
    }

    /// Asks `/health`, which etcd answers with `"health":"true"` once it has a leader.
    private static func isHealthy() -> Bool {
        guard let socket = ClientSocket.connect(to: LabAddresses.arbiter, port: 2379, milliseconds: 1000) else { return false }
        defer { close(socket) }
        let request = Array("GET /health HTTP/1.0\r\n\r\n".utf8)
        guard send(socket, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else { return false }
        var answer = [UInt8]()
        var buffer = [UInt8](repeating: 0, count: 1024)
        while ClientSocket.wait(socket, for: POLLIN, milliseconds: 1000) {
            let count = recv(socket, &buffer, buffer.count, 0)
            if count <= 0 { break }
            answer += buffer[..<count]
        }
        return String(decoding: answer, as: UTF8.self).contains("\"health\":\"true\"")
    }
}
