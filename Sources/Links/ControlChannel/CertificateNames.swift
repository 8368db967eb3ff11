// SPDX-License-Identifier: Apache-2.0

import NIOSSL

/// The names that a certificate gives its host.
enum CertificateNames {
    /// The DNS entries of the subject alternative name; without any, the subject's common names. Lower case.
    static func names(of certificate: NIOSSLCertificate) -> [String] {
        let alternatives = certificate._subjectAlternativeNames().filter { $0.nameType == .dnsName }
            .compactMap { name in name.contents.withUnsafeBufferPointer { String(validating: $0, as: UTF8.self) } }
        let names = alternatives.isEmpty ? certificate.subjectName.filter { $0.type == .commonName }.map(\.value) : alternatives
        return names.map { $0.lowercased() }
    }

    /// The expected name that the certificate carries, as it was configured. Names match whole and without regard to case;
    /// a wildcard is a name like any other.
    static func match(_ certificate: NIOSSLCertificate, expected: Set<String>) -> String? {
        let names = names(of: certificate)
        return expected.sorted().first { names.contains($0.lowercased()) }
    }
}
