/// The numbers of the NBD protocol (doc/proto.md of NetworkBlockDevice/nbd).
enum Wire {
    static let serverMagic: UInt64 = 0x4e42_444d_4147_4943
    static let optionMagic: UInt64 = 0x4948_4156_454f_5054
    static let optionReplyMagic: UInt64 = 0x0003_e889_0455_65a9
    static let requestMagic: UInt32 = 0x2560_9513
    static let simpleReplyMagic: UInt32 = 0x6744_6698
    static let structuredReplyMagic: UInt32 = 0x668e_33ef

    static let requestSize = 28
    static let simpleReplySize = 16
    static let chunkHeaderSize = 20

    static let baseAllocation = "base:allocation"

    enum HandshakeFlag {
        static let fixedNewstyle: UInt16 = 1
        static let noZeroes: UInt16 = 2
    }

    enum Option: UInt32 {
        case exportName = 1
        case abort = 2
        case list = 3
        case startTLS = 5
        case info = 6
        case go = 7
        case structuredReply = 8
        case listMetaContext = 9
        case setMetaContext = 10
    }

    enum OptionReply: UInt32 {
        case acknowledgement = 1
        case server = 2
        case info = 3
        case metaContext = 4
        case unsupported = 0x8000_0001
        case policy = 0x8000_0002
        case invalid = 0x8000_0003
        case unknown = 0x8000_0006
        case tooBig = 0x8000_0009
    }

    enum Info: UInt16 {
        case export = 0
        case name = 1
        case blockSize = 3
    }

    enum TransmissionFlag {
        static let hasFlags: UInt16 = 1 << 0
        static let readOnly: UInt16 = 1 << 1
        static let flush: UInt16 = 1 << 2
        static let forceUnitAccess: UInt16 = 1 << 3
        static let trim: UInt16 = 1 << 5
        static let writeZeroes: UInt16 = 1 << 6
        static let dontFragment: UInt16 = 1 << 7
        static let severalConnections: UInt16 = 1 << 8
        static let fastZero: UInt16 = 1 << 11
    }

    enum Command: UInt16 {
        case read = 0
        case write = 1
        case disconnect = 2
        case flush = 3
        case trim = 4
        case writeZeroes = 6
        case blockStatus = 7
    }

    enum CommandFlag {
        static let forceUnitAccess: UInt16 = 1 << 0
        static let noHole: UInt16 = 1 << 1
        static let dontFragment: UInt16 = 1 << 2
        static let oneExtent: UInt16 = 1 << 3
        static let fastZero: UInt16 = 1 << 4
    }

    enum Chunk: UInt16 {
        case none = 0
        case offsetData = 1
        case offsetHole = 2
        case blockStatus = 5
        case error = 0x8001
        case errorOffset = 0x8002

        static let done: UInt16 = 1
    }
}
