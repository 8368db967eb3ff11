/// The 28 bytes that begin a request.
struct RequestHeader {
    let flags: UInt16
    let type: UInt16
    let cookie: UInt64
    let offset: UInt64
    let length: UInt32

    /// nil when the magic number is not there: what follows cannot be understood either.
    init?(_ bytes: UnsafeRawBufferPointer) {
        var reader = WireReader(bytes)
        guard reader.next(UInt32.self) == Wire.requestMagic, let flags: UInt16 = reader.next(), let type: UInt16 = reader.next(),
            let cookie: UInt64 = reader.next(), let offset: UInt64 = reader.next(), let length: UInt32 = reader.next()
        else { return nil }
        self.flags = flags
        self.type = type
        self.cookie = cookie
        self.offset = offset
        self.length = length
    }

    func has(_ flag: UInt16) -> Bool { flags & flag != 0 }
}
