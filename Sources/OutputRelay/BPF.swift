import Glibc
import LinuxShim

/// bpf(2): maps, programs, and their attachment to the traffic control hooks of an interface (`tcx`, Linux 6.6 or later).
///
/// tcx programs run before the classifiers of any clsact qdisc that the user has, leave that qdisc alone, and stay attached without
/// the process that attached them.
enum BPF {
    /// Where a program sees the frames of an interface.
    enum Hook: UInt32 {
        /// Frames that come in: for a tap, what its holder sends.
        case ingress = 46
        /// Frames that go out: for a tap, what its holder receives.
        case egress = 47
    }

    /// What the kernel tells about a loaded program.
    struct ProgramInformation {
        let name: String
        let identifier: UInt32
        let firstMap: UInt32?
    }

    /// Makes an array map of one value of `bytes` bytes that can be mapped into memory.
    static func makeMap(name: String, bytes: UInt32) throws(OutputRelayError) -> FileDescriptor {
        var attribute = Attribute(bytes: 72)
        attribute.set(0, UInt32(2))
        attribute.set(4, UInt32(4))
        attribute.set(8, bytes)
        attribute.set(12, UInt32(1))
        attribute.set(16, UInt32(0x400))
        attribute.set(28, name: name)
        return FileDescriptor(try run(0, &attribute, "making a BPF map"))
    }

    /// Loads a classifier.
    static func load(name: String, _ program: [BPFInstruction]) throws(OutputRelayError) -> FileDescriptor {
        var license = Array("Apache-2.0\0".utf8)
        var instructions = program
        var attribute = Attribute(bytes: 72)
        attribute.set(0, UInt32(3))
        attribute.set(4, UInt32(program.count))
        attribute.set(48, name: name)
        // SAFETY: both arrays outlive the system call, the only one who uses the addresses, and have the lengths told.
        let result = instructions.withUnsafeMutableBytes { code in
            license.withUnsafeMutableBytes { text in
                attribute.set(8, UInt64(UInt(bitPattern: code.baseAddress)))
                attribute.set(16, UInt64(UInt(bitPattern: text.baseAddress)))
                return attribute.call(5)
            }
        }
        guard result >= 0 else { throw .kernel("loading a classifier", "bpf(BPF_PROG_LOAD)", -result) }
        return FileDescriptor(result)
    }

    /// Puts `program` in front of all others at `hook`, or in the place of `old`, atomically.
    static func attach(
        _ program: FileDescriptor, to interface: Int32, _ hook: Hook, replacing old: FileDescriptor? = nil
    ) throws(OutputRelayError) {
        var attribute = Attribute(bytes: 32)
        attribute.set(0, UInt32(bitPattern: interface))
        attribute.set(4, UInt32(program.number))
        attribute.set(8, hook.rawValue)
        attribute.set(12, UInt32(old == nil ? 1 << 3 : 1 << 2))
        if let old { attribute.set(16, UInt32(old.number)) }
        _ = try run(8, &attribute, "attaching a classifier to interface \(interface)")
    }

    /// Takes `program` away from `hook`.
    static func detach(_ program: FileDescriptor, from interface: Int32, _ hook: Hook) throws(OutputRelayError) {
        var attribute = Attribute(bytes: 32)
        attribute.set(0, UInt32(bitPattern: interface))
        attribute.set(4, UInt32(program.number))
        attribute.set(8, hook.rawValue)
        _ = try run(9, &attribute, "detaching a classifier from interface \(interface)")
    }

    /// The identifiers of the programs at `hook`, in the order in which they run.
    static func attached(to interface: Int32, _ hook: Hook) throws(OutputRelayError) -> [UInt32] {
        var identifiers = [UInt32](repeating: 0, count: 64)
        var attribute = Attribute(bytes: 64)
        attribute.set(0, UInt32(bitPattern: interface))
        attribute.set(4, hook.rawValue)
        attribute.set(24, UInt32(identifiers.count))
        // SAFETY: the array outlives the system call, which writes at most the number of elements told.
        let result = identifiers.withUnsafeMutableBytes { place in
            attribute.set(16, UInt64(UInt(bitPattern: place.baseAddress)))
            return attribute.call(16)
        }
        if result == -ENOENT { return [] }
        guard result >= 0 else { throw .kernel("listing the classifiers of interface \(interface)", "bpf(BPF_PROG_QUERY)", -result) }
        return Array(identifiers.prefix(Int(attribute.get32(24))))
    }

    /// The loaded program with this identifier; nil when it has gone.
    static func program(_ identifier: UInt32) throws(OutputRelayError) -> FileDescriptor? { try open(13, identifier, "a classifier") }

    /// The map with this identifier; nil when it has gone.
    static func map(_ identifier: UInt32) throws(OutputRelayError) -> FileDescriptor? { try open(14, identifier, "a BPF map") }

    /// Asks the kernel about a loaded program.
    static func information(_ program: FileDescriptor) throws(OutputRelayError) -> ProgramInformation {
        var information = Attribute(bytes: 232)
        var firstMap: UInt32 = 0
        var attribute = Attribute(bytes: 16)
        attribute.set(0, UInt32(program.number))
        attribute.set(4, UInt32(information.bytes.count))
        // SAFETY: both places outlive the system call; the kernel writes one map identifier, as told, and at most the length told.
        let result = withUnsafeMutablePointer(to: &firstMap) { map in
            information.set(52, UInt32(1))
            information.set(56, UInt64(UInt(bitPattern: map)))
            return information.bytes.withUnsafeMutableBytes { place in
                attribute.set(8, UInt64(UInt(bitPattern: place.baseAddress)))
                return attribute.call(15)
            }
        }
        guard result >= 0 else { throw .kernel("describing a classifier", "bpf(BPF_OBJ_GET_INFO_BY_FD)", -result) }
        let name = information.bytes[64..<80].prefix { $0 != 0 }
        return ProgramInformation(
            name: String(decoding: name, as: UTF8.self), identifier: information.get32(4),
            firstMap: information.get32(52) > 0 ? firstMap : nil)
    }

    private static func open(_ command: Int32, _ identifier: UInt32, _ what: String) throws(OutputRelayError) -> FileDescriptor? {
        var attribute = Attribute(bytes: 12)
        attribute.set(0, identifier)
        let result = attribute.call(command)
        if result == -ENOENT { return nil }
        guard result >= 0 else { throw .kernel("opening \(what)", "bpf(\(command))", -result) }
        return FileDescriptor(result)
    }

    private static func run(_ command: Int32, _ attribute: inout Attribute, _ what: String) throws(OutputRelayError) -> Int32 {
        let result = attribute.call(command)
        guard result >= 0 else { throw .kernel(what, "bpf(\(command))", -result) }
        return result
    }
}

extension BPF {
    /// The bytes of `union bpf_attr` (or of a structure that the kernel fills in), by offset.
    struct Attribute {
        var bytes: [UInt8]

        init(bytes count: Int) { bytes = [UInt8](repeating: 0, count: count) }

        mutating func set(_ offset: Int, _ value: some FixedWidthInteger) {
            for byte in 0..<(value.bitWidth / 8) { bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> (8 * byte)) }
        }

        mutating func set(_ offset: Int, name: String) {
            for (index, byte) in name.utf8.prefix(15).enumerated() { bytes[offset + index] = byte }
        }

        func get32(_ offset: Int) -> UInt32 {
            (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << (8 * $1) }
        }

        mutating func call(_ command: Int32) -> Int32 {
            // SAFETY: the kernel reads and writes at most the size told; addresses inside were set by the caller, who keeps them valid.
            bytes.withUnsafeMutableBytes { understudy_bpf(command, $0.baseAddress, UInt32($0.count)) }
        }
    }
}
