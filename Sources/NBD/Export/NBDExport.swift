/// What the server serves.
///
/// Called on the threads of the connections; several may call at once. A client may use several connections for one export
/// (`NBD_FLAG_CAN_MULTI_CONN` is set): a `flush` covers every write that was answered before, on whatever connection.
///
/// The server has examined every offset and length: they lie inside the export and are not empty, and nothing changes a read-only export.
/// Requests of one connection come one after the other, in the order in which the client sent them.
public protocol NBDExport: AnyObject, Sendable {
    /// What a client asks for; an empty name asks for a server's only export.
    var name: String { get }
    /// Must not change while it is served.
    var byteCount: UInt64 { get }
    var isReadOnly: Bool { get }
    /// Whether `writeZeroes` always costs much less than the same write; a client then may ask for zeroes only if they are fast.
    var hasFastZeroes: Bool { get }

    /// A place for `length` bytes (at most `NBDServer.maximumPayload`) of a write, which the server fills from the socket and then
    /// passes to `write`, or to `abandon` when the client vanished in between. nil when there is no memory: the client gets ENOMEM.
    func reserve(length: Int) -> NBDBuffer?
    func abandon(_ buffer: NBDBuffer)
    /// Takes the buffer over, whatever the answer. nil: success.
    func write(_ buffer: NBDBuffer, at offset: UInt64, forceUnitAccess: Bool) -> NBDErrorCode?
    /// Fills all of `bytes`.
    func read(into bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) -> NBDErrorCode?
    func writeZeroes(at offset: UInt64, length: UInt64, mayTrim: Bool, forceUnitAccess: Bool) -> NBDErrorCode?
    /// Afterwards the range may read as anything.
    func trim(at offset: UInt64, length: UInt64) -> NBDErrorCode?
    func flush() -> NBDErrorCode?
    /// Appends the status (`base:allocation`) of the range, from its beginning on; a part of it is enough, and nothing means "data".
    func extents(at offset: UInt64, length: UInt64, into extents: inout [NBDExtent])

    /// A connection begins to send requests.
    func connected()
    /// That connection is over; no call of its thread comes any more.
    func disconnected()
}

extension NBDExport {
    public var hasFastZeroes: Bool { false }
    public func connected() {}
    public func disconnected() {}
}
