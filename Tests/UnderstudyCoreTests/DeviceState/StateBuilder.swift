@testable import UnderstudyCore

/// Makes device states as QEMU writes them.
struct StateBuilder {
    var bytes: [UInt8] = [0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3]
    private(set) var sections: [DeviceSection] = []

    mutating func add(
        _ name: String, id: UInt32, instance: UInt32 = 0, version: UInt32 = 1, payload: [UInt8] = [1, 2, 3], footer: Bool = true
    ) {
        bytes += Self.header(name, id: id, instance: instance, version: version) + payload
        if footer { bytes += Self.footer(id) }
        sections.append(DeviceSection(name: name, instance: instance, version: version))
    }

    mutating func end() { bytes.append(0) }

    static func header(_ name: String, id: UInt32, instance: UInt32 = 0, version: UInt32 = 1) -> [UInt8] {
        var bytes: [UInt8] = [4]
        bytes.appendBigEndian(id)
        bytes.appendName(name)
        bytes.appendBigEndian(instance)
        bytes.appendBigEndian(version)
        return bytes
    }

    static func footer(_ id: UInt32) -> [UInt8] {
        var bytes: [UInt8] = [0x7e]
        bytes.appendBigEndian(id)
        return bytes
    }

    /// A state of `count` devices with random payloads.
    static func random(sections count: Int, using random: inout some RandomNumberGenerator) -> StateBuilder {
        var state = StateBuilder()
        for index in 0..<count {
            let length = Int.random(in: 0...400, using: &random)
            let payload = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            state.add("device-\(index % 7)/x", id: UInt32(index + 3), instance: UInt32(index / 7), version: 2, payload: payload)
        }
        state.end()
        return state
    }
}

/// A generator with a seed (SplitMix64), so that a failure can be run again.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}
