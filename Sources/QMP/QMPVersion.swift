/// A QEMU version as its greeting states it.
public struct QMPVersion: Codable, Sendable, Equatable, Comparable, CustomStringConvertible {
    public var major: Int
    public var minor: Int
    public var micro: Int
    /// The distribution's addition, for instance `Debian 1:7.2+dfsg-7`.
    public var package: String

    public init(major: Int, minor: Int, micro: Int, package: String = "") {
        self.major = major
        self.minor = minor
        self.micro = micro
        self.package = package
    }

    /// Compares the numbers only.
    public static func < (left: QMPVersion, right: QMPVersion) -> Bool {
        (left.major, left.minor, left.micro) < (right.major, right.minor, right.micro)
    }

    public var description: String { "\(major).\(minor).\(micro)" }
}
