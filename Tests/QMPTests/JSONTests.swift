import Testing

@testable import QMP

@Suite struct JSONTests {
    private static let valid: [(String, JSONValue)] = [
        ("null", JSONValue.null), ("true", true), (" [1, -2,3.5] ", [1, -2, 3.5]), (#"{"a":{"b":[]},"c":""}"#, ["a": ["b": []], "c": ""]),
        (#""\u00e9\ud83d\ude00\n\"""#, "é😀\n\""), ("18446744073709551615", .unsigned(.max)), ("-9223372036854775808", .int(.min)),
        ("1e2", 100.0), ("0", 0),
    ]

    @Test(arguments: valid) func validTextsAreRead(text: String, value: JSONValue) throws {
        #expect(try JSONValue(parsing: text.utf8) == value)
    }

    @Test(arguments: [
        "", " ", "{", "[1,]", "{\"a\"}", "{\"a\":}", "01", "1.", "-", "+1", "nul", "\"", "\"\\x\"", "\"\\ud800\"", "\"\\ud800\\u0041\"",
        "1 2", "1e999",
        "\"\u{01}\"", "{a:1}", "[1 2]",
    ]) func invalidTextsAreErrors(text: String) {
        #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: text.utf8) }
    }

    @Test func bytesThatAreNotUTF8AreAnError() {
        #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: [0x22, 0xFF, 0x22] as [UInt8]) }
    }

    @Test func nestingCannotExhaustTheStack() {
        #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: [UInt8](repeating: UInt8(ascii: "["), count: 1_000_000)) }
    }

    @Test func whatIsWrittenIsReadBack() throws {
        let value: JSONValue = ["k\"ey": [1, 2.5, nil, true, "a\\\u{1}\n", ["x": .unsigned(.max)]], "z": [:]]
        #expect(try JSONValue(parsing: value.serialized()) == value)
        #expect(!value.serialized().contains(UInt8(ascii: "\n")))
    }

    @Test func randomBytesNeverCrash() {
        var random = SystemRandomNumberGenerator()
        let seed = Array(#"{"return": {"a": [1, 2.5e3, "x\u00e9\n", null, true]}, "id": 7}"#.utf8)
        for _ in 0..<20_000 {
            var text = seed
            for _ in 0..<Int.random(in: 1...6, using: &random) { text[Int.random(in: 0..<text.count)] = UInt8.random(in: 0...255) }
            if Bool.random() { text.removeLast(Int.random(in: 0...text.count)) }
            _ = try? JSONValue(parsing: text)
        }
    }

    @Test func accessorsGiveNilForOtherKinds() {
        let value: JSONValue = ["n": 5, "s": "x", "l": [1]]
        #expect(value["n"]?.int == 5 && value["n"]?.uint64 == 5 && value["n"]?.double == 5 && value["n"]?.string == nil)
        #expect(value["l"]?[0]?.int == 1 && value["l"]?[1] == nil && value["l"]?[-1] == nil && value["s"]?["x"] == nil)
        #expect(JSONValue.int(-1).uint64 == nil && JSONValue.unsigned(.max).int == nil)
    }

    @Test func anEventCostsFarLessThanACheckpointCanSpare() throws {
        let text = Array(#"{"timestamp": {"seconds": 1795228744, "microseconds": 263123}, "event": "RESUME"}"#.utf8)
        let start = ContinuousClock.now
        for _ in 0..<1000 { _ = try JSONValue(parsing: text) }
        print("reading an event: \(start.duration(to: .now) / 1000)")
    }
}
