internal import Links
internal import UnderstudyCore

/// The thread that sends the guest's writes to the backup while their epoch still runs.
final class WriteSender: Sendable {
    private let queue: WriteQueue
    private let stream: SealedStream
    private let thread: DedicatedThread

    /// How long the link may take for one message before replication is given up.
    private static let patience = Duration.seconds(30)

    init(queue: WriteQueue, stream: SealedStream) throws(HostDaemonError) {
        self.queue = queue
        self.stream = stream
        thread = try DedicatedThread(name: "disk-sender", urgent: true) {
            let header = UnsafeMutableRawBufferPointer.allocate(byteCount: DiskMessage.markLength, alignment: 8)
            defer { header.deallocate() }
            do throws(LinkError) {
                while true {
                    var item = queue.takeIfAny()
                    if item == nil {
                        try stream.writer.flush(deadline: .now + Self.patience)
                        item = queue.take()
                    }
                    guard let item else { return }
                    try Self.send(item, of: queue, header: header, over: stream)
                }
            } catch {
                queue.fail("the disk stream broke: \(error.message)")
            }
        }
    }

    private static func send(
        _ item: WriteLog.Item, of queue: WriteQueue, header: UnsafeMutableRawBufferPointer, over stream: SealedStream
    ) throws(LinkError) {
        switch item {
        case .mark(let identity, let entry):
            DiskMessage.encodeMark(identity, through: entry, into: header)
            try write(header[..<DiskMessage.markLength], nil, over: stream)
        case .entry(let entry):
            defer { queue.release(entry.place) }
            guard let data = queue.data(of: entry) else {
                let change = DiskMessage.Change(disk: entry.disk, offset: entry.offset, length: entry.length, entry: entry.number)
                DiskMessage.encode(entry.kind, change, into: header)
                return try write(header[..<DiskMessage.headerLength], nil, over: stream)
            }
            try send(data[..<Int(entry.length)], of: entry, header: header, over: stream)
        }
    }

    private static func send(
        _ data: Slice<UnsafeRawBufferPointer>, of entry: WriteLog.Entry, header: UnsafeMutableRawBufferPointer, over stream: SealedStream
    ) throws(LinkError) {
        var rest = data
        while !rest.isEmpty {
            let part = rest.prefix(DiskMessage.maximumData)
            rest = rest.dropFirst(part.count)
            let change = DiskMessage.Change(
                disk: entry.disk, offset: entry.offset + UInt64(part.startIndex), length: UInt64(part.count), entry: entry.number)
            DiskMessage.encode(.data, change, into: header)
            try write(header[..<DiskMessage.headerLength], UnsafeRawBufferPointer(rebasing: part), over: stream)
        }
    }

    private static func write(
        _ header: Slice<UnsafeMutableRawBufferPointer>, _ data: UnsafeRawBufferPointer?, over stream: SealedStream
    ) throws(LinkError) {
        let header = UnsafeRawBufferPointer(rebasing: header)
        try withUnsafeTemporaryAllocation(of: UnsafeRawBufferPointer.self, capacity: 2) { pieces throws(LinkError) in
            pieces.initializeElement(at: 0, to: header)
            if let data { pieces.initializeElement(at: 1, to: data) }
            try stream.writer.write(
                UnsafeBufferPointer(rebasing: UnsafeBufferPointer(pieces)[..<(data == nil ? 1 : 2)]), deadline: .now + patience)
        }
    }

    /// Bytes handed to the link so far, sealing included.
    var bytesSent: UInt64 { stream.writer.bytesSent }

    /// Ends stream and thread.
    func stop() {
        stream.shutdown()
        queue.stop()
        thread.join()
    }
}
