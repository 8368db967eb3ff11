// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Texts for failed system calls.
enum SystemCall {
    static func describe(_ number: Int32) -> String {
        "\(String(cString: strerror(number))) (errno \(number))"
    }
}
