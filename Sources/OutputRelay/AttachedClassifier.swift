/// One of our classifiers as found on an interface.
struct AttachedClassifier {
    let program: FileDescriptor
    let identifier: UInt32
    let map: GateMap

    /// Our classifiers named `name` at `hook` of `interface`, in the order in which they run.
    static func find(_ name: String, on interface: Int32, _ hook: BPF.Hook) throws(OutputRelayError) -> [AttachedClassifier] {
        var found: [AttachedClassifier] = []
        for identifier in try BPF.attached(to: interface, hook) {
            guard let program = try BPF.program(identifier) else { continue }
            let information = try BPF.information(program)
            guard information.name == name, let number = information.firstMap, let map = try BPF.map(number) else { continue }
            found.append(AttachedClassifier(program: program, identifier: identifier, map: try GateMap(map)))
        }
        return found
    }
}
