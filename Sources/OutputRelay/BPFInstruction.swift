/// One eBPF instruction (Linux `Documentation/bpf/standardization/instruction-set.rst`): 8 bytes.
struct BPFInstruction {
    let code: UInt8
    let registers: UInt8
    let offset: Int16
    let immediate: Int32

    private init(_ code: UInt8, to: UInt8 = 0, from: UInt8 = 0, offset: Int16 = 0, immediate: Int32 = 0) {
        self.code = code
        registers = to | (from << 4)
        self.offset = offset
        self.immediate = immediate
    }

    /// `to = value`
    static func set(_ to: UInt8, _ value: Int32) -> BPFInstruction { BPFInstruction(0xb7, to: to, immediate: value) }

    /// `to = from`
    static func move(_ to: UInt8, _ from: UInt8) -> BPFInstruction { BPFInstruction(0xbf, to: to, from: from) }

    /// `to = *(u32 *)(base + offset)`
    static func load32(_ to: UInt8, _ base: UInt8, _ offset: Int16) -> BPFInstruction {
        BPFInstruction(0x61, to: to, from: base, offset: offset)
    }

    /// `*(u32 *)(base + offset) = from`
    static func store32(_ base: UInt8, _ offset: Int16, _ from: UInt8) -> BPFInstruction {
        BPFInstruction(0x63, to: base, from: from, offset: offset)
    }

    /// `*(u64 *)(base + offset) += from`, atomically
    static func add64(_ base: UInt8, _ offset: Int16, _ from: UInt8) -> BPFInstruction {
        BPFInstruction(0xdb, to: base, from: from, offset: offset)
    }

    /// `if register == value, skip` the next `skip` instructions
    static func skipIfEqual(_ register: UInt8, _ value: Int32, _ skip: Int16) -> BPFInstruction {
        BPFInstruction(0x15, to: register, offset: skip, immediate: value)
    }

    /// `r0 = helper(r1...r5)`
    static func call(_ helper: Int32) -> BPFInstruction { BPFInstruction(0x85, immediate: helper) }

    /// `return r0`
    static let exit = BPFInstruction(0x95)

    /// `to =` the address of the first value of the array map `descriptor`; two instructions long
    static func mapValue(_ to: UInt8, _ descriptor: Int32) -> [BPFInstruction] {
        [BPFInstruction(0x18, to: to, from: 2, immediate: descriptor), BPFInstruction(0)]
    }
}
