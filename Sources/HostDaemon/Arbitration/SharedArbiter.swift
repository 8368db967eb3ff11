internal import Arbiter
internal import UnderstudyCore

/// The proof that both hosts ask one and the same arbiter, without which each might decide alone.
///
/// The backup must find the primary's newest record, whose nonce nobody else knows; with a folder on shared storage both hosts also show each
/// other a nonce through it.
enum SharedArbiter {
    /// What this host tells its peer over the control channel; nil when the arbiter is no folder.
    static func nonce(of arbiter: any ArbiterClient, host: String) throws(HostDaemonError) -> String? {
        guard let folder = arbiter as? FileArbiter else { return nil }
        do throws(ArbiterError) {
            return try folder.writeNonce(host: host)
        } catch {
            throw HostDaemonError(.arbiter, "the arbiter's folder cannot be written: \(error)", cause: error)
        }
    }

    /// Checks what the peer announced.
    static func prove(_ arbiter: any ArbiterClient, peer: String, announced: String?) throws(HostDaemonError) {
        guard let folder = arbiter as? FileArbiter else {
            guard announced == nil else {
                throw HostDaemonError(
                    .arbiter, "\(peer) uses a folder as arbiter and this host does not: configure the same arbiter on both")
            }
            return
        }
        guard let announced else {
            throw HostDaemonError(.arbiter, "this host uses a folder as arbiter and \(peer) does not: configure the same arbiter on both")
        }
        do throws(ArbiterError) {
            try folder.proveShared(peer: peer, announced: announced)
        } catch {
            throw HostDaemonError(.arbiter, "the two hosts do not see the same arbiter folder: \(error)", cause: error)
        }
    }

    /// Checks that this host's arbiter holds the record that the peer's arbiter gave it.
    static func holds(_ record: ArbiterRecord, key: String, _ arbiter: any ArbiterClient, peer: String) throws(HostDaemonError) {
        let found: ArbiterRecord?
        do throws(ArbiterError) {
            found = try arbiter.read(key: key)
        } catch {
            throw HostDaemonError(.arbiter, "this host's arbiter does not answer: \(error)", cause: error)
        }
        guard found == record else {
            throw HostDaemonError(
                .arbiter, "this host's arbiter does not hold the record that \(peer) wrote: configure the same arbiter on both")
        }
    }
}
