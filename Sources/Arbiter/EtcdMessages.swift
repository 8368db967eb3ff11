// SPDX-License-Identifier: Apache-2.0

import Foundation

/// The part of etcd's v3 JSON gateway that is used (etcd documentation, "gRPC gateway"): byte strings in base64, 64-bit numbers as
/// strings, default values left out.
enum EtcdMessages {
    struct Header: Decodable { let cluster_id: String; let revision: String }

    struct KeyValue: Decodable {
        let key: Data
        let value: Data
        let mod_revision: String?
    }

    struct RangeResponse: Decodable {
        let header: Header
        let kvs: [KeyValue]?
    }

    struct AuthenticateResponse: Decodable { let token: String }

    struct TransactionRangeResponse: Decodable { let kvs: [KeyValue]? }

    struct TransactionResponse: Decodable {
        struct Part: Decodable { let response_range: TransactionRangeResponse? }

        let header: Header
        let succeeded: Bool?
        let responses: [Part]?
    }

    static func range(key: String) -> [String: Any] { ["key": base64(key)] }

    /// - Parameters:
    ///   - expected: the exact stored bytes; nil: the key must be absent.
    ///   - proposed: the bytes to store; nil: delete the key.
    static func transaction(key: String, expected: Data?, proposed: Data?) -> [String: Any] {
        let name = base64(key)
        let compare: [String: Any] =
            if let expected {
                ["key": name, "target": "VALUE", "result": "EQUAL", "value": expected.base64EncodedString()]
            } else {
                ["key": name, "target": "CREATE", "result": "EQUAL", "createRevision": "0"]
            }
        let success: [String: Any] =
            if let proposed {
                ["requestPut": ["key": name, "value": proposed.base64EncodedString()]]
            } else {
                ["requestDeleteRange": ["key": name]]
            }
        return ["compare": [compare], "success": [success], "failure": [["requestRange": ["key": name]]]]
    }

    private static func base64(_ text: String) -> String { Data(text.utf8).base64EncodedString() }
}
