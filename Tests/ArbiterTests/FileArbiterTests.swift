// SPDX-License-Identifier: Apache-2.0

import Arbiter
import Foundation
import Testing
import UnderstudyCore

struct FileArbiterTests {
    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("understudy-arbiter-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { #expect(throws: Never.self) { try FileManager.default.removeItem(at: folder) } }
        try body(folder.path)
    }

    @Test func `a shared folder carries out every decision and refuses every stale one`() throws {
        try withFolder { try ArbiterContract.decisions(try FileArbiter(folder: $0), key: "../vm/1") }
    }

    @Test func `of decisions at the same time exactly one wins`() throws {
        try withFolder { folder in
            let clients = [try FileArbiter(folder: folder), try FileArbiter(folder: folder)]
            try ArbiterContract.races(clients, key: "race", rounds: 100)
        }
    }

    @Test func `a damaged decision is an error and never an absent record`() throws {
        try withFolder { folder in
            let arbiter = try FileArbiter(folder: folder)
            let create = ArbiterProposal.create(owner: "a", nonce: "n")
            #expect(arbiter.compareAndSet(key: "vm", proposal: create, timeout: ArbiterContract.patience) == .won(create.proposed))
            for damage in ["{", "{}", "garbage", String(repeating: "x", count: 10_000)] {
                try Data(damage.utf8).write(to: URL(fileURLWithPath: "\(folder)/key-vm/1"))
                #expect(throws: ArbiterError.self) { try arbiter.read(key: "vm") }
                guard case .unknown = arbiter.compareAndSet(key: "vm", proposal: create, timeout: ArbiterContract.patience) else {
                    Issue.record("decided on \(damage.prefix(20))")
                    return
                }
            }
        }
    }

    @Test func `two hosts with the same folder prove it and two with different folders do not`() throws {
        try withFolder { folder in
            try withFolder { other in
                let a = try FileArbiter(folder: folder)
                let b = try FileArbiter(folder: folder)
                let stranger = try FileArbiter(folder: other)
                let old = try a.writeNonce(host: "a")
                let nonce = try a.writeNonce(host: "a")
                #expect(old != nonce)
                #expect(try b.readNonce(host: "a") == nonce)
                try b.proveShared(peer: "a", announced: nonce)
                #expect(throws: ArbiterError.self) { try b.proveShared(peer: "a", announced: old) }
                #expect(throws: ArbiterError.self) { try stranger.proveShared(peer: "a", announced: nonce) }
                _ = try stranger.writeNonce(host: "a")
                #expect(throws: ArbiterError.self) { try stranger.proveShared(peer: "a", announced: nonce) }
            }
        }
    }

    @Test func `a folder that does not exist is refused`() {
        #expect(throws: ArbiterError.self) { try FileArbiter(folder: "/nonexistent/understudy") }
    }
}
