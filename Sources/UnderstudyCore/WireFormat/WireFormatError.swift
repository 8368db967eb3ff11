// SPDX-License-Identifier: Apache-2.0

/// Why received bytes are not a message or not an epoch. Nothing of what was received may be used.
public struct WireFormatError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The kind of the violation.
    public enum Code: String, Sendable {
        /// The bytes end before the message does, or go on after it.
        case wrongLength
        /// An unknown type, kind, role, version or flag, or a reserved field that is not zero.
        case unknownValue
        /// A page outside its RAM block, a block that does not exist, or an offset between pages.
        case outsideBlock
        /// A message that may not come at this place.
        case unexpectedMessage
        /// The counts of `epochEnd` are not those of what was received, or its identity is another one.
        case countMismatch
        /// The device state has a gap, an overlap, a changing total or is missing.
        case deviceState
        /// A delta is malformed, or goes beyond what it describes.
        case delta
        /// A packed message does not unpack to what it says.
        case packing
        /// The epoch is larger than the staging arena.
        case arenaExhausted
        /// The text of a refusal is not UTF-8.
        case invalidText
    }

    public let code: Code
    /// What was wrong, with the values seen.
    public let message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { "\(code.rawValue): \(message)" }
}
