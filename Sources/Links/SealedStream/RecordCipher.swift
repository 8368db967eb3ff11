// SPDX-License-Identifier: Apache-2.0

import COpenSSL

/// AES-256-GCM of one direction of a checkpoint stream, record after record. Allocates nothing per record.
///
/// The nonce of record number n (from 0, per connection and direction) is the direction's prefix (4 bytes) and n (8 bytes,
/// little-endian); the additional data is the record's length field (4 bytes) and n (8 bytes), both little-endian. So a
/// record at any other place of the stream does not open. After every 2^20 records (64 GiB) both sides replace the key by
/// the first 32 bytes of HKDF-SHA256(key, empty salt, `understudy next key`); n goes on.
struct RecordCipher: ~Copyable {
    /// Bytes of the authentication tag.
    static let tagLength = 16

    private let context: OpaquePointer
    private let encrypts: Bool
    private let recordsPerKey: UInt64
    private var key: [UInt8]
    /// 4 bytes prefix, 8 bytes counter.
    private let nonce: UnsafeMutableRawBufferPointer
    /// 4 bytes length, 8 bytes counter.
    private let additional: UnsafeMutableRawBufferPointer
    private var counter: UInt64 = 0

    init(_ keys: DirectionKeys, encrypts: Bool, recordsPerKey: UInt64 = 1 << 20) throws(LinkError) {
        context = try Self.makeContext(key: keys.key, encrypts: encrypts)
        self.encrypts = encrypts
        self.recordsPerKey = recordsPerKey
        key = keys.key
        nonce = .allocate(byteCount: 12, alignment: 8)
        nonce.copyBytes(from: keys.noncePrefix)
        additional = .allocate(byteCount: 12, alignment: 8)
    }

    deinit {
        EVP_CIPHER_CTX_free(context)
        nonce.deallocate()
        additional.deallocate()
    }

    /// Encrypts the pieces, one after the other, and appends the tag.
    ///
    /// - Parameters:
    ///   - pieces: the plaintext.
    ///   - output: exactly the plaintext's length and 16 bytes.
    mutating func seal(_ pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>, into output: UnsafeMutableRawBufferPointer) throws(LinkError)
    {
        try startRecord(length: output.count)
        var position = 0
        for piece in pieces where piece.count > 0 {
            precondition(position + piece.count + Self.tagLength <= output.count, "the pieces are longer than the record")
            try update(piece, to: output.baseAddress! + position)
            position += piece.count
        }
        precondition(position + Self.tagLength == output.count, "the pieces are shorter than the record")
        var written: Int32 = 0
        let tag = output.baseAddress! + position
        // SAFETY: GCM's final step writes nothing; the tag's 16 bytes end the output.
        guard EVP_CipherFinal_ex(context, tag.assumingMemoryBound(to: UInt8.self), &written) == 1,
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(Self.tagLength), tag) == 1
        else { throw Cryptography.failure("sealing") }
        try endRecord()
    }

    /// Decrypts and verifies a record. When it does not verify, the output is set to zero.
    ///
    /// - Parameters:
    ///   - record: ciphertext and tag.
    ///   - output: at least the plaintext's length.
    /// - Returns: whether the record is authentic; afterwards the plaintext is the output's first `record.count - 16` bytes.
    mutating func open(_ record: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) throws(LinkError) -> Bool {
        let length = record.count - Self.tagLength
        precondition(length >= 0 && length <= output.count, "the output is shorter than the plaintext")
        try startRecord(length: record.count)
        let ciphertext = UnsafeRawBufferPointer(rebasing: record[..<length])
        if length > 0 { try update(ciphertext, to: output.baseAddress!) }
        // SAFETY: libcrypto copies the 16 bytes of the tag and does not write through the pointer.
        let tag = UnsafeMutableRawPointer(mutating: record.baseAddress! + length)
        guard EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(Self.tagLength), tag) == 1 else {
            throw Cryptography.failure("opening")
        }
        var (written, none): (Int32, UInt8) = (0, 0)
        guard EVP_CipherFinal_ex(context, &none, &written) == 1 else {
            ERR_clear_error()
            UnsafeMutableRawBufferPointer(rebasing: output[..<length]).initializeMemory(as: UInt8.self, repeating: 0)
            return false
        }
        try endRecord()
        return true
    }

    private static func makeContext(key: [UInt8], encrypts: Bool) throws(LinkError) -> OpaquePointer {
        guard let context = EVP_CIPHER_CTX_new() else { throw Cryptography.failure("a cipher context") }
        guard EVP_CipherInit_ex(context, EVP_aes_256_gcm(), nil, key, nil, encrypts ? 1 : 0) == 1 else {
            EVP_CIPHER_CTX_free(context)
            throw Cryptography.failure("the set-up of AES-256-GCM")
        }
        return context
    }

    private mutating func startRecord(length: Int) throws(LinkError) {
        nonce.storeBytes(of: counter.littleEndian, toByteOffset: 4, as: UInt64.self)
        additional.storeBytes(of: UInt32(length).littleEndian, toByteOffset: 0, as: UInt32.self)
        additional.storeBytes(of: counter.littleEndian, toByteOffset: 4, as: UInt64.self)
        var written: Int32 = 0
        // SAFETY: nonce and additional data have 12 bytes each and live as long as this value.
        guard
            EVP_CipherInit_ex(context, nil, nil, nil, nonce.baseAddress!.assumingMemoryBound(to: UInt8.self), encrypts ? 1 : 0) == 1,
            EVP_CipherUpdate(context, nil, &written, additional.baseAddress!.assumingMemoryBound(to: UInt8.self), 12) == 1
        else { throw Cryptography.failure("the start of a record") }
    }

    private mutating func update(_ input: UnsafeRawBufferPointer, to output: UnsafeMutableRawPointer) throws(LinkError) {
        var written: Int32 = 0
        // SAFETY: the callers checked that the output has room for the input's length; GCM writes as much as it reads.
        let result = EVP_CipherUpdate(
            context, output.assumingMemoryBound(to: UInt8.self), &written, input.baseAddress!.assumingMemoryBound(to: UInt8.self),
            Int32(input.count))
        guard result == 1, written == Int32(input.count) else { throw Cryptography.failure("a record's body") }
    }

    private mutating func endRecord() throws(LinkError) {
        counter += 1
        guard counter % recordsPerKey == 0 else { return }
        key = try Cryptography.hkdf(key: key, salt: [], info: Array("understudy next key".utf8), count: 32)
        guard EVP_CipherInit_ex(context, nil, nil, key, nil, encrypts ? 1 : 0) == 1 else {
            throw Cryptography.failure("the change of keys")
        }
    }
}
