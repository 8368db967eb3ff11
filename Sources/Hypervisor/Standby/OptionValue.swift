import QMP

/// The argument of a QEMU option: `key=value` pairs, or a JSON object.
///
/// Source: QEMU `util/keyval.c`, `util/qemu-option.c`: pairs are separated by commas, a comma in a value is doubled, the first word may
/// lack its key, later words without a value are switches.
struct OptionValue {
    /// A value to set, independent of the form.
    enum Scalar {
        case text(String)
        case flag(Bool)
        case number(Int)
    }

    private enum Form {
        case implied
        case pair
        case switched
    }

    private struct Pair {
        var key: String
        var value: String
        var form: Form
    }

    private var pairs: [Pair] = []
    private var object: [String: JSONValue]?

    /// - Parameter impliedKey: the key of a first word without one.
    init(parsing text: String, impliedKey: String) throws(HypervisorError) {
        if text.first == "{" {
            object = try Self.parseObject(text)
            return
        }
        for (index, word) in Self.words(of: text).enumerated() {
            if let equals = word.firstIndex(of: "=") {
                pairs.append(Pair(key: String(word[..<equals]), value: String(word[word.index(after: equals)...]), form: .pair))
            } else if index == 0 {
                pairs.append(Pair(key: impliedKey, value: word, form: .implied))
            } else {
                pairs.append(Pair(key: word, value: "on", form: .switched))
            }
        }
    }

    /// The last value of `key` as text; switches and booleans are `on` and `off`.
    subscript(key: String) -> String? {
        guard let object else { return pairs.last { $0.key == key }?.value }
        return object[key].flatMap(Self.text)
    }

    /// The value of a dotted key, which in JSON is a member of members.
    subscript(nested key: String) -> String? {
        guard var object else { return self[key] }
        var parts = key.split(separator: ".").map(String.init)[...]
        while parts.count > 1 {
            guard let inner = object[parts.removeFirst()]?.object else { return nil }
            object = inner
        }
        return parts.first.flatMap { object[$0] }.flatMap(Self.text)
    }

    /// Whether a switch or boolean is on; nil when it is absent.
    func flag(_ key: String) -> Bool? {
        self[key].map { ["on", "yes", "true", "y"].contains($0) }
    }

    /// Every key, in order (alphabetical for JSON).
    var keys: [String] { object.map { $0.keys.sorted() } ?? pairs.map(\.key) }

    /// Replaces the value of `key`, or adds it at the end.
    mutating func set(_ key: String, _ scalar: Scalar) {
        if object != nil {
            object?[key] = Self.json(scalar)
            return
        }
        let value = Self.text(scalar)
        if let index = pairs.lastIndex(where: { $0.key == key }) {
            pairs[index] = Pair(key: key, value: value, form: pairs[index].form == .implied ? .implied : .pair)
        } else {
            pairs.append(Pair(key: key, value: value, form: .pair))
        }
    }

    mutating func remove(_ keys: String...) {
        for key in keys {
            object?[key] = nil
            pairs.removeAll { $0.key == key }
        }
    }

    /// Rewrites every value whose key, or the last part of a dotted or nested key, is `key`.
    mutating func rewrite(key: String, _ change: (String) throws(HypervisorError) -> String) throws(HypervisorError) {
        if let members = object {
            object = try Self.rewrite(members, key: key, change)
            return
        }
        for index in pairs.indices where pairs[index].key == key || pairs[index].key.hasSuffix("." + key) {
            pairs[index].value = try change(pairs[index].value)
        }
    }

    /// The argument as QEMU takes it.
    var text: String {
        if let object { return String(decoding: JSONValue.object(object).serialized(), as: UTF8.self) }
        let words = pairs.map { pair in
            switch pair.form {
            case .implied: Self.escaped(pair.value)
            case .switched: pair.key
            case .pair: "\(pair.key)=\(Self.escaped(pair.value))"
            }
        }
        return words.joined(separator: ",")
    }

    /// `text` with its commas doubled.
    static func escaped(_ text: String) -> String {
        text.split(separator: ",", omittingEmptySubsequences: false).joined(separator: ",,")
    }

    /// Splits at single commas; doubled ones become one.
    private static func words(of text: String) -> [String] {
        var words: [String] = []
        var word = ""
        var rest = Substring(text)
        while let character = rest.popFirst() {
            if character != "," {
                word.append(character)
            } else if rest.first == "," {
                rest.removeFirst()
                word.append(",")
            } else {
                words.append(word)
                word = ""
            }
        }
        return words + (word.isEmpty ? [] : [word])
    }

    private static func parseObject(_ text: String) throws(HypervisorError) -> [String: JSONValue] {
        do {
            let value = try JSONValue(parsing: Array(text.utf8))
            if let object = value.object { return object }
            throw HypervisorError(.optionRefused, "the argument \(text) is no JSON object")
        } catch let error as HypervisorError {
            throw error
        } catch {
            throw HypervisorError(.optionRefused, "the argument \(text) is no valid JSON", cause: error)
        }
    }

    private static func text(_ value: JSONValue) -> String? {
        switch value {
        case .string(let text): text
        case .bool(let flag): flag ? "on" : "off"
        case .int(let number): String(number)
        case .unsigned(let number): String(number)
        case .null, .double, .array, .object: nil
        }
    }

    private static func text(_ scalar: Scalar) -> String {
        switch scalar {
        case .text(let text): text
        case .flag(let flag): flag ? "on" : "off"
        case .number(let number): String(number)
        }
    }

    private static func json(_ scalar: Scalar) -> JSONValue {
        switch scalar {
        case .text(let text): .string(text)
        case .flag(let flag): .bool(flag)
        case .number(let number): .int(Int64(number))
        }
    }

    private static func rewrite(
        _ members: [String: JSONValue], key: String, _ change: (String) throws(HypervisorError) -> String
    ) throws(HypervisorError) -> [String: JSONValue] {
        var result = members
        for (name, value) in members {
            if let text = value.string, name == key {
                result[name] = .string(try change(text))
            } else if let inner = value.object {
                result[name] = .object(try rewrite(inner, key: key, change))
            }
        }
        return result
    }
}
