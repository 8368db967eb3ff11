/// Names of machines: they become file names, tap identities and keys of the arbiter.
enum MachineName {
    static func isValid(_ name: String) -> Bool {
        let characters = name.utf8
        return (1...64).contains(characters.count) && name != "." && name != ".."
            && characters.allSatisfy { character in
                switch character {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                    UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                    true
                default: false
                }
            }
    }
}
