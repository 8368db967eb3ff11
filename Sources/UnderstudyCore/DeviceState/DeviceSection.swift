/// One device's section in a saved device state.
///
/// QEMU matches a section to a device of the receiving machine by `name` and `instance`, and refuses a `version` it does not know.
public struct DeviceSection: Codable, Sendable, Hashable, CustomStringConvertible {
    /// QEMU's id string, for instance `0000:00:02.0/virtio-net`.
    public var name: String
    /// Tells sections of one name apart (`cpu` 0, `cpu` 1, ...).
    public var instance: UInt32
    /// Version of the payload's layout.
    public var version: UInt32

    public init(name: String, instance: UInt32, version: UInt32) {
        self.name = name
        self.instance = instance
        self.version = version
    }

    public var description: String { "\(name) (instance \(instance), version \(version))" }
}
