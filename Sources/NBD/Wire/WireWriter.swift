extension [UInt8] {
    mutating func append(bigEndian number: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: number.bigEndian) { append(contentsOf: $0) }
    }

    /// A 32-bit length and the text's UTF-8.
    mutating func append(counted text: String) {
        append(bigEndian: UInt32(text.utf8.count))
        append(contentsOf: text.utf8)
    }
}

extension UnsafeMutableRawPointer {
    func store(bigEndian number: some FixedWidthInteger & BitwiseCopyable, at offset: Int) {
        storeBytes(of: number.bigEndian, toByteOffset: offset, as: type(of: number))
    }
}
