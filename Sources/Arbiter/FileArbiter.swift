// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
public import UnderstudyCore

/// A folder on storage that both hosts share. Accept it only after ``proveShared(peer:announced:)`` succeeded on both hosts.
///
/// Every decision is a file of its own, numbered, written completely and synced under another name first and then put in its place by
/// link(2), which fails if somebody else has made that decision already. So there is no lock that a dead or frozen host could keep, and
/// a host that wakes up late cannot overwrite anything. Decisions are rare and small: none is deleted.
///
/// On NFS mount with `lookupcache=none,noac`, so that a read sees the other host's decisions. A hung server blocks the calls.
public final class FileArbiter: ArbiterClient {
    private let folder: String
    private let attempts = 64

    /// - Parameter folder: an existing folder, written by both hosts.
    public init(folder: String) throws(ArbiterError) {
        var status = stat()
        guard stat(folder, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            throw ArbiterError(.badConfiguration, "The arbiter's folder \(folder) does not exist; create it on the shared storage.")
        }
        self.folder = folder
    }

    public func read(key: String) throws(ArbiterError) -> ArbiterRecord? {
        try latest(key: key).record
    }

    public func compareAndSet(key: String, proposal: ArbiterProposal, timeout: UInt64) -> ArbiterAnswer {
        let deadline = Deadline(after: timeout)
        do {
            for _ in 0..<attempts where deadline.remaining > 0 {
                let (number, current) = try latest(key: key)
                guard current == proposal.expected else { return .lost(current: current) }
                if try store(proposal.proposed, key: key, number: number + 1) { return .won(proposal.proposed) }
            }
            return .unknown(reason: "The arbiter's folder \(folder) was too slow; check the shared storage.")
        } catch {
            return .unknown(reason: error.description)
        }
    }

    // MARK: Shared storage

    /// Writes a fresh nonce for `host` and returns it; the host sends it to its peer over the control channel.
    public func writeNonce(host: String) throws(ArbiterError) -> String {
        var generator = SystemRandomNumberGenerator()
        let nonce = String(generator.next(), radix: 16) + "-" + String(generator.next(), radix: 16)
        let temporary = try writeTemporary(Data(nonce.utf8), in: folder)
        guard rename(temporary, noncePath(host)) == 0 else {
            let failure = errno
            unlink(temporary)
            throw failed("rename", noncePath(host), failure)
        }
        try sync(folder)
        return nonce
    }

    /// The nonce that `host` wrote, as seen in this host's view of the folder; nil if there is none.
    public func readNonce(host: String) throws(ArbiterError) -> String? {
        guard let data = try contents(noncePath(host)) else { return nil }
        return String(data: data, encoding: .utf8)
    }

    /// Checks that the nonce which the peer announced over the control channel is the one in this host's view of the folder.
    /// Both hosts must do so. Throws `notShared` otherwise.
    public func proveShared(peer: String, announced: String) throws(ArbiterError) {
        guard try readNonce(host: peer) == announced else {
            throw ArbiterError(
                .notShared, "The arbiter's folder \(folder) is not the one that \(peer) writes to; give both hosts the same shared storage."
            )
        }
    }

    // MARK: Decisions

    private func latest(key: String) throws(ArbiterError) -> (number: UInt64, record: ArbiterRecord?) {
        let names: [String]
        do {
            names = try FileManager.default.contentsOfDirectory(atPath: keyPath(key))
        } catch let error as CocoaError where error.code == .fileReadNoSuchFile || error.code == .fileNoSuchFile {
            return (0, nil)
        } catch {
            throw ArbiterError(.inputOutput, "The arbiter's folder \(keyPath(key)) cannot be read; check its permissions.", cause: error)
        }
        guard let number = names.compactMap({ UInt64($0) }).max(), number > 0 else { return (0, nil) }
        let path = decisionPath(key, number)
        guard let data = try contents(path) else {
            throw ArbiterError(.inputOutput, "The arbiter's decision \(path) has vanished; nothing may delete files there.")
        }
        return (number, data.isEmpty ? nil : try RecordCoding.decode(data, from: path))
    }

    /// Returns false if somebody else has made the decision of this number.
    private func store(_ record: ArbiterRecord?, key: String, number: UInt64) throws(ArbiterError) -> Bool {
        if mkdir(keyPath(key), 0o755) != 0, errno != EEXIST { throw failed("mkdir", keyPath(key), errno) }
        try sync(folder)
        let data = try record.map { record throws(ArbiterError) in try RecordCoding.encode(record) } ?? Data()
        let temporary = try writeTemporary(data, in: keyPath(key))
        defer { unlink(temporary) }
        if link(temporary, decisionPath(key, number)) != 0 {
            guard errno == EEXIST else { throw failed("link", decisionPath(key, number), errno) }
            return false
        }
        try sync(keyPath(key))
        return true
    }

    // MARK: Files

    private func keyPath(_ key: String) -> String { "\(folder)/key-\(encoded(key))" }

    private func decisionPath(_ key: String, _ number: UInt64) -> String { "\(keyPath(key))/\(number)" }

    private func noncePath(_ host: String) -> String { "\(folder)/nonce-\(encoded(host))" }

    private func encoded(_ name: String) -> String {
        name.utf8.map { byte in
            let digits = String(byte, radix: 16)
            let letter = Character(UnicodeScalar(byte))
            return letter.isASCII && (letter.isLetter || letter.isNumber) ? String(letter) : "%" + (digits.count == 1 ? "0" : "") + digits
        }.joined()
    }

    private func writeTemporary(_ data: Data, in folder: String) throws(ArbiterError) -> String {
        var generator = SystemRandomNumberGenerator()
        let path = "\(folder)/.\(String(generator.next(), radix: 16))\(String(generator.next(), radix: 16))"
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw failed("open", path, errno) }
        defer { close(descriptor) }
        let bytes = [UInt8](data)
        guard write(descriptor, bytes, bytes.count) == bytes.count, fsync(descriptor) == 0 else {
            let failure = errno
            unlink(path)
            throw failed("write", path, failure)
        }
        return path
    }

    private func contents(_ path: String) throws(ArbiterError) -> Data? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw failed("open", path, errno)
        }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: RecordCoding.limit + 1)
        var length = 0
        while length < buffer.count {
            // SAFETY: read writes at most the rest of the array, which lives for the whole call.
            let count = unsafe buffer.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress! + length, $0.count - length) }
            if count == 0 { break }
            if count > 0 { length += count } else if errno != EINTR { throw failed("read", path, errno) }
        }
        return Data(buffer[..<length])
    }

    private func sync(_ folder: String) throws(ArbiterError) {
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failed("open", folder, errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failed("fsync", folder, errno) }
    }

    private func failed(_ call: String, _ path: String, _ number: Int32) -> ArbiterError {
        ArbiterError(
            .inputOutput, "\(call) of \(path) failed (\(String(cString: strerror(number)))); check the shared storage and its permissions.")
    }
}
