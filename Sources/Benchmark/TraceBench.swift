internal import Glibc
internal import HostDaemon
internal import Packing
internal import UnderstudyCore

/// Encodes, decodes and packs recorded pages, in turns with what it is compared with.
struct TraceBench {
    private let trace: PageTrace
    private let deltas: UnsafeMutableRawBufferPointer
    private var lengths: [Int]
    private static let rounds = 15
    private static let epochPages = 400

    init(_ trace: PageTrace) {
        self.trace = trace
        // Lives as long as the benchmark.
        lengths = Array(repeating: 0, count: trace.count)
        deltas = .allocate(byteCount: trace.count * PageDelta.maximumLength, alignment: 64)
    }

    private var bytes: Double { Double(trace.count * 4096) }

    mutating func measureDeltas(_ report: inout BenchmarkReport) {
        encodeAll()
        let (changed, sum) = (lengths.filter { $0 >= 0 }.count, lengths.reduce(0) { $0 + ($1 < 0 ? 4096 : $1) })
        let work = UnsafeMutableRawBufferPointer.allocate(byteCount: trace.count * 4096, alignment: 4096)
        defer { work.deallocate() }
        work.copyMemory(from: UnsafeRawBufferPointer(rebasing: trace.before[..<work.count]))
        let stranger = QEMUDelta()
        var (encoding, theirs, decoding, copying) = (Samples(), Samples(), Samples(), Samples())
        for _ in 0..<Self.rounds {
            encoding.add(seconds { encodeAll() })
            if let stranger { theirs.add(seconds { stranger.encode(trace) }) }
            decoding.add(seconds { decodeAll(into: work) })
            precondition(memcmp(work.baseAddress!, trace.after.baseAddress!, work.count) == 0, "a recorded page does not come back")
            work.copyMemory(from: UnsafeRawBufferPointer(rebasing: trace.before[..<work.count]))
            copying.add(seconds { memcpy(work.baseAddress!, trace.after.baseAddress!, work.count) })
            work.copyMemory(from: UnsafeRawBufferPointer(rebasing: trace.before[..<work.count]))
        }
        let (ours, qemus) = measureEpochs(stranger)
        report.promise("codec_delta_decode_time_against_memcpy_ratio", ratio(decoding, copying), atMost: 3)
        if stranger != nil {
            report.promise("codec_delta_encode_time_against_xbzrle_ratio", ratio(ours, qemus), atMost: 0.5)
            report.tell("codec_delta_encode_from_memory_time_against_xbzrle_ratio", ratio(encoding, theirs))
            report.tell("codec_xbzrle_encode_gb_per_s", qemus.median.map { bytes / $0 / 1e9 })
            report.tell("codec_xbzrle_bytes_per_byte", stranger.map { Double($0.length(of: 0..<trace.count, in: trace)) / bytes })
        }
        report.tell("codec_delta_encode_from_memory_gb_per_s", encoding.median.map { bytes / $0 / 1e9 })
        report.tell("codec_delta_encode_gb_per_s", ours.median.map { bytes / $0 / 1e9 })
        report.tell("codec_delta_decode_gb_per_s", decoding.median.map { bytes / $0 / 1e9 })
        report.tell("codec_delta_pages_percent", Double(changed) / Double(trace.count) * 100)
        report.tell("codec_delta_bytes_per_byte", Double(sum) / bytes)
    }

    /// Seconds for the whole trace in pieces of an epoch's size, each of which is in the cache as an epoch is that was just copied.
    private mutating func measureEpochs(_ stranger: QEMUDelta?) -> (ours: Samples, theirs: Samples) {
        var (ours, theirs) = (Samples(), Samples())
        for _ in 0..<Self.rounds {
            var (own, other) = (0.0, 0.0)
            for first in stride(from: 0, to: trace.count, by: Self.epochPages) {
                let pages = first..<min(first + Self.epochPages, trace.count)
                encode(pages)
                own += seconds { for _ in 0..<4 { encode(pages) } } / 4
                guard let stranger else { continue }
                _ = stranger.length(of: pages, in: trace)
                other += seconds { for _ in 0..<4 { _ = stranger.length(of: pages, in: trace) } } / 4
            }
            ours.add(own)
            if stranger != nil { theirs.add(other) }
        }
        return (ours, theirs)
    }

    private mutating func encodeAll() { encode(0..<trace.count) }

    /// Lengths: 0 unchanged, -1 sent whole.
    private mutating func encode(_ pages: Range<Int>) {
        for page in pages {
            let room = UnsafeMutableRawBufferPointer(
                rebasing: deltas[page * PageDelta.maximumLength..<(page + 1) * PageDelta.maximumLength])
            switch PageDelta.encode(
                trace.after.baseAddress! + page * 4096, against: trace.before.baseAddress! + page * 4096, into: room)
            {
            case .unchanged: lengths[page] = 0
            case .delta(let length): lengths[page] = length
            case .tooLong: lengths[page] = -1
            }
        }
    }

    private func decodeAll(into work: UnsafeMutableRawBufferPointer) {
        for (page, length) in lengths.enumerated() where length != 0 {
            let target = work.baseAddress! + page * 4096
            if length < 0 {
                target.copyMemory(from: trace.after.baseAddress! + page * 4096, byteCount: 4096)
                continue
            }
            let start = page * PageDelta.maximumLength
            let isValid = PageDelta.apply(UnsafeRawBufferPointer(rebasing: deltas[start..<start + length]), to: target)
            precondition(isValid, "what was encoded is valid")
        }
    }

    /// Pages one by one and fifteen in one message, which is how they are sent.
    func measurePacking(_ report: inout BenchmarkReport) throws {
        let packer = try RecordPacker()
        for (name, method) in [("lz4", PackedRecord.Method.lz4), ("zstd", .zstd)] {
            for pages in [1, 15] {
                var (times, packed) = (Samples(), 0)
                for _ in 0..<5 {
                    packed = 0
                    times.add(seconds { packed = pack(packer, method, pages) })
                }
                report.tell("codec_\(name)_\(pages)_pages_mb_per_s", times.median.map { bytes / $0 / 1e6 })
                report.tell("codec_\(name)_\(pages)_pages_bytes_per_byte", Double(packed) / bytes)
            }
        }
    }

    private func pack(_ packer: RecordPacker, _ method: PackedRecord.Method, _ pages: Int) -> Int {
        var packed = 0
        for first in stride(from: 0, to: trace.count, by: pages) {
            let length = min(pages, trace.count - first) * 4096
            var piece = UnsafeRawBufferPointer(rebasing: trace.after[first * 4096..<first * 4096 + length])
            packed += withUnsafePointer(to: &piece) { packer.pack(UnsafeBufferPointer(start: $0, count: 1), by: method)?.count ?? length }
        }
        return packed
    }
}

/// QEMU's own `xbzrle_encode_buffer`, where `scripts/bench-xbzrle` has built it.
private struct QEMUDelta {
    private typealias Encode =
        @convention(c) (
            UnsafeMutableRawPointer, UnsafeMutableRawPointer, Int32, UnsafeMutableRawPointer, Int32
        ) -> Int32
    private let function: Encode
    private let output = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 64)

    init?() {
        let cache =
            getenv("UNDERSTUDY_CACHE").map { String(cString: $0) }
            ?? "\(getenv("HOME").map { String(cString: $0) } ?? "")/.cache/understudy"
        guard let library = dlopen("\(cache)/xbzrle/libxbzrle.so", RTLD_NOW), let symbol = dlsym(library, "xbzrle_encode_buffer") else {
            return nil
        }
        // SAFETY: the function's type is that of QEMU's header migration/xbzrle.h.
        function = unsafeBitCast(symbol, to: Encode.self)
    }

    func encode(_ trace: PageTrace) { _ = length(of: 0..<trace.count, in: trace) }

    func length(of pages: Range<Int>, in trace: PageTrace) -> Int {
        var sum = 0
        for page in pages {
            let length = function(trace.before.baseAddress! + page * 4096, trace.after.baseAddress! + page * 4096, 4096, output, 4096)
            sum += length < 0 ? 4096 : Int(length)
        }
        return sum
    }
}
