import Testing

@testable import UnderstudyCore

@Suite struct DeviceStateTests {
    private func code(of state: [UInt8]) -> DeviceStateError.Code? {
        do {
            _ = try DeviceState.summary(of: state)
            return nil
        } catch { return error.code }
    }

    @Test func `every section is listed in order with instance and version`() throws {
        var state = StateBuilder()
        state.add("timer", id: 0, version: 2)
        state.add("cpu", id: 3, instance: 0, version: 12, payload: Array(repeating: 0x55, count: 5000))
        state.add("cpu", id: 5, instance: 1, version: 12, payload: [])
        state.add("0000:00:02.0/virtio-net", id: 0x2a, version: 11)
        state.end()
        #expect(try DeviceState.summary(of: state.bytes).sections == state.sections)
    }

    @Test func `a state without devices has an empty list`() throws {
        #expect(try DeviceState.summary(of: [0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3, 0]).sections.isEmpty)
    }

    @Test func `payloads may contain footers and headers of other sections`() throws {
        var state = StateBuilder()
        // A footer of another id, one of the own id without a header behind it, and a whole foreign section.
        let decoys =
            StateBuilder.footer(9) + StateBuilder.footer(1) + [4, 0, 0] + StateBuilder.header("evil", id: 77) + StateBuilder.footer(77)
        state.add("a", id: 1, payload: decoys)
        state.add("b", id: 2, payload: StateBuilder.footer(1) + StateBuilder.header("b", id: 2))
        state.end()
        #expect(try DeviceState.summary(of: state.bytes).sections == state.sections)
    }

    @Test func `random payloads are read exactly`() throws {
        var random = SeededGenerator(state: 7)
        for _ in 0..<60 {
            let state = StateBuilder.random(sections: Int.random(in: 1...90, using: &random), using: &random)
            #expect(try DeviceState.summary(of: state.bytes).sections == state.sections)
        }
    }

    @Test func `bytes that allow two lists are refused`() {
        var state = StateBuilder()
        state.add("a", id: 1, payload: StateBuilder.footer(1) + StateBuilder.header("ghost", id: 1) + [0])
        state.add("b", id: 2)
        state.end()
        #expect(code(of: state.bytes) == .ambiguous)
    }

    @Test func `two readings with the same list are one answer`() throws {
        var state = StateBuilder()
        // The payload of a holds the beginning of b as well: b starts in one of two places, the list is the same.
        state.add("a", id: 1, payload: StateBuilder.footer(1) + StateBuilder.header("b", id: 2) + [9, 9])
        state.add("b", id: 2)
        state.end()
        #expect(try DeviceState.summary(of: state.bytes).sections == state.sections)
    }

    @Test func `a machine without footers is told apart`() {
        var state = StateBuilder()
        state.add("timer", id: 0, payload: Array(repeating: 1, count: 40), footer: false)
        state.add("cpu", id: 1, payload: Array(repeating: 2, count: 40), footer: false)
        state.end()
        #expect(code(of: state.bytes) == .noSectionFooters)
    }

    @Test func `every truncation is refused`() {
        var random = SeededGenerator(state: 3)
        let state = StateBuilder.random(sections: 12, using: &random)
        for length in 0..<state.bytes.count {
            // A prefix may happen to end in 00; it is then refused for want of a footer or a chain.
            let prefix = Array(state.bytes[..<length])
            if length == 9 && prefix[8] == 0 { continue }
            #expect(code(of: prefix) != nil, "length \(length)")
        }
    }

    @Test func `another magic or version is refused`() {
        #expect(code(of: []) == .notADeviceState)
        #expect(code(of: [0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 2, 0]) == .notADeviceState)
        #expect(code(of: Array("hello, this is no state".utf8)) == .notADeviceState)
    }

    @Test func `random and mutated bytes give a list or an error`() {
        var random = SeededGenerator(state: 11)
        let original = StateBuilder.random(sections: 30, using: &random).bytes
        for _ in 0..<3000 {
            var bytes = original
            for _ in 0..<Int.random(in: 1...12, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if Bool.random(using: &random) { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
            _ = code(of: bytes)
        }
        for _ in 0..<3000 {
            let tail = (0..<Int.random(in: 0...300, using: &random)).map { _ in [0, 4, 0x7e, 0x41, 1].randomElement(using: &random) ?? 0 }
            _ = code(of: [0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3] + tail.map(UInt8.init))
        }
    }

    @Test func `a state made of boundaries only takes bounded work`() {
        var state: [UInt8] = [0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3] + StateBuilder.header("a", id: 1)
        for _ in 0..<20_000 { state += StateBuilder.footer(1) + StateBuilder.header("a", id: 1) }
        state += StateBuilder.footer(1) + [0]
        let clock = ContinuousClock()
        let took = clock.measure { #expect(code(of: state) == .ambiguous) }
        #expect(took < .seconds(60))
    }

    @Test func `the difference names what is new and what is missing`() {
        let timer = DeviceSection(name: "timer", instance: 0, version: 2)
        let net = DeviceSection(name: "0000:00:02.0/virtio-net", instance: 0, version: 11)
        let newer = DeviceSection(name: "0000:00:02.0/virtio-net", instance: 0, version: 12)
        let rehearsed = DeviceStateSummary(sections: [timer, net])
        #expect(rehearsed.difference(from: rehearsed) == nil)
        let difference = DeviceStateSummary(sections: [timer, newer]).difference(from: rehearsed)
        #expect(
            difference
                == "new: 0000:00:02.0/virtio-net (instance 0, version 12); missing: 0000:00:02.0/virtio-net (instance 0, version 11)")
        #expect(DeviceStateSummary(sections: [net, timer]).difference(from: rehearsed) == "the same devices in another order")
        #expect(DeviceStateSummary(sections: [timer, net, net]).difference(from: rehearsed)?.hasPrefix("new: 0000") == true)
    }
}
