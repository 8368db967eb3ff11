// SPDX-License-Identifier: Apache-2.0

import Foundation
import UnderstudyCore

/// The stored form of a record: one line of JSON with sorted keys, so that equal records have equal bytes.
enum RecordCoding {
    static let limit = 4096

    static func encode(_ record: ArbiterRecord) throws(ArbiterError) -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let data: Data
        do { data = try encoder.encode(record) } catch {
            throw ArbiterError(.badConfiguration, "The record cannot be written as JSON; check the host names.", cause: error)
        }
        guard data.count <= limit else {
            throw ArbiterError(.badConfiguration, "The record has \(data.count) bytes, more than \(limit); use shorter host names.")
        }
        return data
    }

    static func decode(_ data: Data, from place: String) throws(ArbiterError) -> ArbiterRecord {
        guard data.count <= limit else {
            throw ArbiterError(.badAnswer, "\(place) holds \(data.count) bytes, too many for a record of Understudy; check the key.")
        }
        let record: ArbiterRecord
        do { record = try JSONDecoder().decode(ArbiterRecord.self, from: data) } catch {
            throw ArbiterError(.badAnswer, "\(place) holds no record of Understudy; check the key and who else writes it.", cause: error)
        }
        guard record.generation >= 1, record.generation < .max - 16, !record.owner.isEmpty, !record.nonce.isEmpty else {
            throw ArbiterError(
                .badAnswer, "\(place) holds a record with an impossible generation, owner or nonce; check who else writes it.")
        }
        return record
    }
}
