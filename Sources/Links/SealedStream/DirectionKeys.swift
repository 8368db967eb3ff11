// SPDX-License-Identifier: Apache-2.0

/// Key and nonce prefix of one direction of a checkpoint stream.
struct DirectionKeys {
    /// 32 bytes for AES-256.
    var key: [UInt8]
    /// The first 4 of a nonce's 12 bytes.
    var noncePrefix: [UInt8]
}

/// The keys of both directions, new for every connection.
struct StreamKeys {
    var primaryToBackup: DirectionKeys
    var backupToPrimary: DirectionKeys

    /// HKDF-SHA256 (RFC 5869) with the session key as input key material, both prefaces (128 bytes) as salt and
    /// `understudy checkpoint stream 1` as info; of its 72 bytes, 0-31 are the key of primary to backup, 32-63 the key of
    /// backup to primary, 64-67 and 68-71 their nonce prefixes.
    init(session: CheckpointSessionKey, primary: Preface, backup: Preface) throws(LinkError) {
        let bytes = try Cryptography.hkdf(
            key: session.bytes, salt: primary.encoded + backup.encoded, info: Array("understudy checkpoint stream 1".utf8), count: 72)
        primaryToBackup = DirectionKeys(key: Array(bytes[0..<32]), noncePrefix: Array(bytes[64..<68]))
        backupToPrimary = DirectionKeys(key: Array(bytes[32..<64]), noncePrefix: Array(bytes[68..<72]))
    }
}
