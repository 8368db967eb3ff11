// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization
public import UnderstudyCore

/// An etcd cluster (3.4 or later) through its v3 JSON gateway: one transaction per decision, linearizable reads.
///
/// Over TLS where an endpoint begins with `https`, else over plain HTTP; as a user of etcd's own where one is named. An answer that is older than
/// what was seen before, or comes from another cluster, is refused (``EtcdHistory``).
/// Give IP addresses: the look-up of a name is not bounded by the time limits.
public final class EtcdArbiter: ArbiterClient {
    private enum Attempt {
        case won
        case found(Data?)
    }

    private let endpoints: [HTTPEndpoint]
    private let security: EtcdSecurity
    private let history: EtcdHistory
    /// What etcd gave for the password; good at every member.
    private let token = Mutex<String?>(nil)
    private let connectTimeout: UInt64
    private let readTimeout: UInt64

    /// - Parameters:
    ///   - endpoints: `http://host:port` or `https://host:port` of the members of one cluster, tried in order.
    ///   - security: certificates and user.
    ///   - history: what was seen of the cluster; nil: what this object sees.
    ///   - connectTimeout: nanoseconds for one connection attempt.
    ///   - readTimeout: nanoseconds for a whole `read`.
    public init(
        endpoints: [String], security: EtcdSecurity = EtcdSecurity(), history: EtcdHistory? = nil, connectTimeout: UInt64 = 100_000_000,
        readTimeout: UInt64 = 1_000_000_000
    ) throws(ArbiterError) {
        guard !endpoints.isEmpty else { throw ArbiterError(.badConfiguration, "No endpoint of the arbiter is configured.") }
        var parsed: [HTTPEndpoint] = []
        for endpoint in endpoints { parsed.append(try HTTPEndpoint(endpoint)) }
        self.endpoints = parsed
        self.security = security
        if let history { self.history = history } else { self.history = try EtcdHistory(path: nil) }
        self.connectTimeout = connectTimeout
        self.readTimeout = readTimeout
    }

    public func read(key: String) throws(ArbiterError) -> ArbiterRecord? {
        let stored = try stored(key: key, deadline: Deadline(after: readTimeout))
        return try stored.map { data throws(ArbiterError) in try RecordCoding.decode(data, from: "etcd's key \(key)") }
    }

    private func stored(key: String, deadline: Deadline) throws(ArbiterError) -> Data? {
        let body = try json(EtcdMessages.range(key: key))
        return try eachEndpoint(deadline) { endpoint, deadline throws(ArbiterError) in
            let floor = self.history.floor(of: key)
            let answer = try self.post("/v3/kv/range", body, to: endpoint, deadline: deadline)
            let response: EtcdMessages.RangeResponse = try self.decode(answer, from: endpoint)
            let found = try self.pair(of: key, in: response.kvs, from: endpoint)
            try self.note(response.header, key: key, changed: found?.mod_revision.flatMap { Int64($0) }, floor: floor, endpoint)
            return found?.value
        }
    }

    private func note(
        _ header: EtcdMessages.Header, key: String, changed: Int64?, floor: EtcdHistory.Floor, _ endpoint: HTTPEndpoint
    ) throws(ArbiterError) {
        guard let revision = Int64(header.revision) else {
            throw ArbiterError(.badAnswer, "\(endpoint.authority) names no revision in its answer; is it an etcd?")
        }
        try history.admit(
            cluster: header.cluster_id, revision: revision, key: key, changed: changed, floor: floor, from: endpoint.authority)
    }

    public func compareAndSet(key: String, proposal: ArbiterProposal, timeout: UInt64) -> ArbiterAnswer {
        do { return try attempt(key: key, proposal: proposal, deadline: Deadline(after: timeout)) } catch {
            return .unknown(reason: error.description)
        }
    }

    private func attempt(key: String, proposal: ArbiterProposal, deadline: Deadline) throws(ArbiterError) -> ArbiterAnswer {
        let proposed = try proposal.proposed.map { record throws(ArbiterError) in try RecordCoding.encode(record) }
        var expected = try proposal.expected.map { record throws(ArbiterError) in try RecordCoding.encode(record) }
        // A store that has gone back must be noticed before anything is decided by it.
        _ = try stored(key: key, deadline: deadline.limited(to: deadline.remaining / 2))
        // A second try compares with the stored bytes, if they are another spelling of the expected record.
        for _ in 0..<2 {
            switch try transact(key: key, expected: expected, proposed: proposed, deadline: deadline) {
            case .won: return .won(proposal.proposed)
            case .found(nil): return .lost(current: nil)
            case .found(let stored?):
                let current = try RecordCoding.decode(stored, from: "etcd's key \(key)")
                guard current == proposal.expected, stored != expected else { return .lost(current: current) }
                expected = stored
            }
        }
        throw ArbiterError(.badAnswer, "etcd's key \(key) changes its spelling between two transactions; check who else writes it.")
    }

    private func transact(key: String, expected: Data?, proposed: Data?, deadline: Deadline) throws(ArbiterError) -> Attempt {
        let body = try json(EtcdMessages.transaction(key: key, expected: expected, proposed: proposed))
        return try eachEndpoint(deadline) { endpoint, deadline throws(ArbiterError) in
            let floor = self.history.floor(of: key)
            let answer = try self.post("/v3/kv/txn", body, to: endpoint, deadline: deadline)
            let response: EtcdMessages.TransactionResponse = try self.decode(answer, from: endpoint)
            let isPut = response.succeeded == true && proposed != nil
            try self.note(response.header, key: key, changed: isPut ? Int64(response.header.revision) : nil, floor: floor, endpoint)
            guard let parts = response.responses, parts.count == 1 else {
                throw ArbiterError(.badAnswer, "\(endpoint.authority) answered a transaction without its result; is it an etcd?")
            }
            if response.succeeded == true {
                guard parts[0].response_range == nil else {
                    throw ArbiterError(.badAnswer, "\(endpoint.authority) answered a transaction with the wrong branch; is it an etcd?")
                }
                return .won
            }
            guard let range = parts[0].response_range else {
                throw ArbiterError(.badAnswer, "\(endpoint.authority) refused a transaction and did not say what is stored.")
            }
            return .found(try self.pair(of: key, in: range.kvs, from: endpoint)?.value)
        }
    }

    /// Gives every endpoint an equal part of the time that is left. A transaction that may have been carried out is harmless to repeat
    /// elsewhere: the repetition then finds the proposed record, and ``Decision`` takes it for won.
    private func eachEndpoint<Result>(
        _ deadline: Deadline, _ body: (HTTPEndpoint, Deadline) throws(ArbiterError) -> Result
    ) throws(ArbiterError) -> Result {
        var failures: [ArbiterError] = []
        for (index, endpoint) in endpoints.enumerated() {
            let share = deadline.limited(to: deadline.remaining / UInt64(endpoints.count - index))
            do { return try body(endpoint, share) } catch { failures.append(error) }
        }
        guard failures.count > 1 else { throw failures[0] }
        throw ArbiterError(failures[0].code, failures.map(\.description).joined(separator: " "))
    }

    private func post(_ path: String, _ body: Data, to endpoint: HTTPEndpoint, deadline: Deadline) throws(ArbiterError) -> Data {
        guard let user = security.user else { return try exchange(path, body, to: endpoint, deadline: deadline, token: nil) }
        if let known = token.withLock({ $0 }) {
            // Tokens end with time and with every change of users and roles; whoever is refused was not served.
            do { return try exchange(path, body, to: endpoint, deadline: deadline, token: known) } catch {
                guard error.code == .unauthenticated else { throw error }
            }
        }
        let fresh = try authenticate(user, at: endpoint, deadline: deadline)
        token.withLock { $0 = fresh }
        return try exchange(path, body, to: endpoint, deadline: deadline, token: fresh)
    }

    private func exchange(
        _ path: String, _ body: Data, to endpoint: HTTPEndpoint, deadline: Deadline, token: String?
    ) throws(ArbiterError) -> Data {
        try HTTPExchange(to: endpoint, connectTimeout: connectTimeout, deadline: deadline, security: security)
            .post(path, body: body, token: token)
    }

    private func authenticate(_ user: String, at endpoint: HTTPEndpoint, deadline: Deadline) throws(ArbiterError) -> String {
        let body = try json(["name": user, "password": try password()])
        let answer = try exchange("/v3/auth/authenticate", body, to: endpoint, deadline: deadline, token: nil)
        let response: EtcdMessages.AuthenticateResponse = try decode(answer, from: endpoint)
        guard response.token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw ArbiterError(.badAnswer, "\(endpoint.authority) gave a token that cannot be used; is it an etcd?")
        }
        return response.token
    }

    private func password() throws(ArbiterError) -> String {
        let path = security.passwordFile ?? ""
        guard let text = try? String(contentsOfFile: path, encoding: .utf8), let line = text.split(separator: "\n").first else {
            throw ArbiterError(.badConfiguration, "\(path) holds no password that can be read: correct `arbiter.password-file`.")
        }
        return String(line)
    }

    private func json(_ object: [String: Any]) throws(ArbiterError) -> Data {
        do { return try JSONSerialization.data(withJSONObject: object) } catch {
            throw ArbiterError(.badConfiguration, "The question to etcd cannot be written as JSON; check the key.", cause: error)
        }
    }

    private func decode<Response: Decodable>(_ data: Data, from endpoint: HTTPEndpoint) throws(ArbiterError) -> Response {
        do { return try JSONDecoder().decode(Response.self, from: data) } catch {
            throw ArbiterError(
                .badAnswer, "\(endpoint.authority) does not answer like etcd's v3 gateway; check the endpoint.", cause: error)
        }
    }

    private func pair(
        of key: String, in found: [EtcdMessages.KeyValue]?, from endpoint: HTTPEndpoint
    ) throws(ArbiterError) -> EtcdMessages.KeyValue? {
        guard let found, !found.isEmpty else { return nil }
        guard found.count == 1, found[0].key == Data(key.utf8) else {
            throw ArbiterError(.badAnswer, "\(endpoint.authority) answered with another key than \(key); is it an etcd?")
        }
        return found[0]
    }
}
