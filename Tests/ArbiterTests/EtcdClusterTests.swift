// SPDX-License-Identifier: Apache-2.0

import Arbiter
import Foundation
import Testing
import UnderstudyCore

/// Real etcds with TLS, users, several members, and a past.
@Suite(.enabled(if: EtcdServer.isInstalled, "needs etcd (Debian: etcd-server)"), .serialized)
struct EtcdClusterTests {
    private static let tools = ["/usr/bin/openssl", "/usr/bin/curl"].allSatisfy { FileManager.default.isExecutableFile(atPath: $0) }

    private func code(_ body: () throws -> Void) -> ArbiterError.Code? {
        do { try body() } catch { return (error as? ArbiterError)?.code }
        return nil
    }

    @Test(.enabled(if: tools, "needs openssl and curl"))
    func `over TLS every decision is carried out, and only by members and for hosts that prove themselves`() throws {
        try EtcdCluster.with(secure: true) { cluster in
            try ArbiterContract.decisions(try cluster.arbiter(), key: "vm")
            let files = try #require(cluster.files)
            // Without a certificate of its own the host is not let in.
            #expect(code { _ = try cluster.arbiter(EtcdSecurity(authority: files.authority)).read(key: "vm") } != nil)
            // The host's own certificate signed nobody.
            let stranger = EtcdSecurity(authority: files.certificate, certificate: files.certificate, key: files.key)
            #expect(code { _ = try cluster.arbiter(stranger).read(key: "vm") } == .refused)
            // The certificate names the address, not the name that leads there.
            let named = try EtcdArbiter(
                endpoints: [cluster.endpoints[0].replacing("127.0.0.1", with: "localhost")], security: files.security)
            #expect(code { _ = try named.read(key: "vm") } == .refused)
            #expect(code { _ = try cluster.arbiter(EtcdSecurity()).read(key: "vm") } == .badConfiguration)
            // Plain HTTP is no answer.
            let plain = try EtcdArbiter(endpoints: [cluster.endpoints[0].replacing("https", with: "http")])
            #expect(code { _ = try plain.read(key: "vm") } != nil)
        }
    }

    @Test(.enabled(if: tools, "needs openssl and curl"))
    func `a user with a password decides what its role allows, also after the rights have changed`() throws {
        try EtcdCluster.with { cluster in
            let prefix = { (text: String) in Data(text.utf8).base64EncodedString() }
            for user in ["root", "understudy"] { _ = try cluster.post("/v3/auth/user/add", ["name": user, "password": "secret-\(user)"]) }
            for role in ["root", "understudy"] { _ = try cluster.post("/v3/auth/role/add", ["name": role]) }
            let permission: [String: Any] = ["permType": 2, "key": prefix("understudy/"), "range_end": prefix("understudy0")]
            _ = try cluster.post("/v3/auth/role/grant", ["name": "understudy", "perm": permission])
            for user in ["root", "understudy"] { _ = try cluster.post("/v3/auth/user/grant", ["user": user, "role": user]) }
            _ = try cluster.post("/v3/auth/enable", [:])

            let password = "\(cluster.folder)/password"
            try "secret-understudy\n".write(toFile: password, atomically: true, encoding: .utf8)
            let arbiter = try cluster.arbiter(EtcdSecurity(user: "understudy", passwordFile: password))
            try ArbiterContract.decisions(arbiter, key: "understudy/machine/vm")
            #expect(code { _ = try arbiter.read(key: "elsewhere") } == .refused)
            #expect(code { _ = try cluster.arbiter(EtcdSecurity()).read(key: "understudy/machine/vm") } == .unauthenticated)
            // Every change of rights makes the tokens of before useless.
            let token = try #require(
                try cluster.post("/v3/auth/authenticate", ["name": "root", "password": "secret-root"])["token"] as? String)
            _ = try cluster.post("/v3/auth/role/add", ["name": "another"], token: token)
            try ArbiterContract.decisions(arbiter, key: "understudy/machine/vm2")
            try "wrong\n".write(toFile: password, atomically: true, encoding: .utf8)
            let stranger = try cluster.arbiter(EtcdSecurity(user: "understudy", passwordFile: password))
            #expect(code { _ = try stranger.read(key: "understudy/machine/vm") } != nil)
        }
    }

    @Test func `of three members one may die, and without two nothing is decided`() throws {
        try EtcdCluster.with(3) { cluster in
            let arbiter = try cluster.arbiter()
            try ArbiterContract.decisions(arbiter, key: "vm")
            cluster.stop(cluster.members[0])
            try ArbiterContract.decisions(arbiter, key: "vm2")
            cluster.stop(cluster.members[1])
            let hasty = try EtcdArbiter(endpoints: cluster.endpoints, readTimeout: 500_000_000)
            let answer = hasty.compareAndSet(key: "vm3", proposal: .create(owner: "a", nonce: "n"), timeout: 500_000_000)
            guard case .unknown = answer else {
                Issue.record("\(answer)")
                return
            }
            try cluster.start(cluster.members[0])
            try cluster.awaitAnswer()
            try ArbiterContract.decisions(arbiter, key: "vm4")
        }
    }

    @Test func `an etcd that was restored from a backup decides nothing, and a new daemon still knows what was seen`() throws {
        try EtcdCluster.with { cluster in
            let path = "\(cluster.folder)/seen.json"
            let session = try permit(try cluster.arbiter(), key: "vm")
            try cluster.backUp()
            let arbiter = try cluster.arbiter(history: try EtcdHistory(path: path, inBackground: false))
            let takeover = ArbiterProposal.takeOver(committed: session, by: "b", nonce: "t")
            #expect(arbiter.compareAndSet(key: "vm", proposal: takeover, timeout: ArbiterContract.patience) == .won(takeover.proposed))
            try cluster.restore()
            for arbiter in [arbiter, try cluster.arbiter(history: try EtcdHistory(path: path, inBackground: false))] {
                #expect(code { _ = try arbiter.read(key: "vm") } == .wentBack)
                let answer = arbiter.compareAndSet(
                    key: "vm", proposal: .goSolo(from: session, nonce: "s"), timeout: ArbiterContract.patience)
                guard case .unknown = answer else {
                    Issue.record("the forgotten takeover let another host go on: \(answer)")
                    return
                }
            }
            // Whatever else is written there since: the machine's record is still the old one.
            let stranger = try cluster.arbiter()
            for round in 0..<20 { _ = try permit(stranger, key: "other-\(round)") }
            #expect(code { _ = try arbiter.read(key: "vm") } == .wentBack)
            // A host that has seen nothing cannot know: the control.
            #expect(try stranger.read(key: "vm") == session)
        }
    }

    @Test func `another cluster is not the arbiter of before`() throws {
        try EtcdCluster.with { first in
            let path = "\(first.folder)/seen.json"
            _ = try permit(try first.arbiter(history: try EtcdHistory(path: path, inBackground: false)), key: "vm")
            try EtcdCluster.with(3) { second in
                #expect(
                    code { _ = try second.arbiter(history: try EtcdHistory(path: path, inBackground: false)).read(key: "vm") } == .wentBack)
            }
        }
    }

    /// A record in which b may take over from a.
    private func permit(_ arbiter: EtcdArbiter, key: String) throws -> ArbiterRecord {
        let create = ArbiterProposal.create(owner: "a", nonce: "c")
        #expect(arbiter.compareAndSet(key: key, proposal: create, timeout: ArbiterContract.patience) == .won(create.proposed))
        let permit = ArbiterProposal.permitBackup("b", current: try #require(create.proposed), nonce: "p")
        #expect(arbiter.compareAndSet(key: key, proposal: permit, timeout: ArbiterContract.patience) == .won(permit.proposed))
        return try #require(permit.proposed)
    }
}
