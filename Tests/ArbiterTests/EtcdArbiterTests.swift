// SPDX-License-Identifier: Apache-2.0

import Arbiter
import Foundation
import Glibc
import Testing
import UnderstudyCore

@Suite(.enabled(if: EtcdServer.isInstalled, "needs etcd (Debian: etcd-server)"), .serialized)
struct EtcdArbiterTests {
    @Test func `a real etcd carries out every decision and refuses every stale one`() throws {
        try EtcdServer.with { server in
            let arbiter = try EtcdArbiter.patient([server.endpoint])
            try ArbiterContract.decisions(arbiter, key: "vm")
            // Bound by this test, so that nobody listens there.
            let nobody = try Loopback(listening: false)
            defer { close(nobody.descriptor) }
            let endpoints = ["http://127.0.0.1:\(nobody.port)", server.endpoint]
            try ArbiterContract.decisions(try EtcdArbiter.patient(endpoints), key: "vm2")
        }
    }

    @Test func `of decisions at the same time exactly one wins`() throws {
        try EtcdServer.with { server in
            let clients = [try EtcdArbiter.patient([server.endpoint]), try EtcdArbiter.patient([server.endpoint])]
            try ArbiterContract.races(clients, key: "race", rounds: 30)
        }
    }

    @Test func `a frozen etcd leaves the decision unknown within the time limit`() throws {
        try EtcdServer.with { server in
            let arbiter = try EtcdArbiter(endpoints: [server.endpoint], readTimeout: 300_000_000)
            try server.freeze()
            let answer = arbiter.compareAndSet(key: "vm", proposal: .create(owner: "a", nonce: "n"), timeout: 300_000_000)
            guard case .unknown = answer else {
                Issue.record("\(answer)")
                return
            }
            #expect(throws: ArbiterError.self) { try arbiter.read(key: "vm") }
        }
    }

    @Test func `a record in another spelling is still the expected one`() throws {
        try EtcdServer.with { server in
            let text = #"{ "owner":"a", "nonce":"n", "confirmed":true, "generation":1, "extra":0 }"#
            let body = ["key": Data("vm".utf8).base64EncodedString(), "value": Data(text.utf8).base64EncodedString()]
            try post(server.endpoint + "/v3/kv/put", JSONSerialization.data(withJSONObject: body))
            let arbiter = try EtcdArbiter.patient([server.endpoint])
            let current = try #require(try arbiter.read(key: "vm"))
            let proposal = ArbiterProposal.goSolo(from: current, nonce: "m")
            #expect(arbiter.compareAndSet(key: "vm", proposal: proposal, timeout: ArbiterContract.patience) == .won(proposal.proposed))
        }
    }

    /// Through curl, so that the test does not depend on the code under test.
    private func post(_ url: String, _ body: Data) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/curl")
        process.arguments = ["-sf", "-o", "/dev/null", "-d", String(decoding: body, as: UTF8.self), url]
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
    }
}
