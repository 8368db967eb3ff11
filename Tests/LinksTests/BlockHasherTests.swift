import Testing
import UnderstudyCore

@testable import Links

@Suite struct BlockHasherTests {
    private static let key = (0..<32).map { UInt8($0) }

    private static func digest(_ bytes: [UInt8], key: [UInt8] = key, disk: Int = 1, block: Int = 2) throws -> BlockDigest {
        let hasher = try BlockHasher(key: key)
        return try #require(bytes.withUnsafeBytes { hasher.digest(disk: disk, block: block, of: $0) })
    }

    /// `openssl mac -cipher AES-256-GCM -macopt hexkey:KEY -macopt hexiv:020000000000000001000000 -in abc GMAC`.
    @Test func `a checksum is the one of the openssl program`() throws {
        #expect(try Self.digest(Array("abc".utf8)) == BlockDigest(low: 0x5d15_9526_a7b7_3385, high: 0xaf2f_1979_2164_ec97))
    }

    @Test func `content, key, disk and block all count`() throws {
        var bytes = [UInt8](repeating: 7, count: 65_536)
        let digest = try Self.digest(bytes)
        #expect(try Self.digest(bytes) == digest)
        #expect(try Self.digest(bytes, key: Array(Self.key.reversed())) != digest)
        #expect(try Self.digest(bytes, disk: 0) != digest)
        #expect(try Self.digest(bytes, block: 3) != digest)
        #expect(try Self.digest(Array(bytes.dropLast())) != digest)
        for place in [0, 4095, 40_000, 65_535] {
            bytes[place] ^= 1
            #expect(try Self.digest(bytes) != digest)
            bytes[place] ^= 1
        }
    }
}
