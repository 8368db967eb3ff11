// SPDX-License-Identifier: Apache-2.0

/// The files with which a daemon proves who it is, all PEM, and the authority that it believes.
///
/// The certificate must be usable for both ends of a connection (no extended key usage, or both `serverAuth` and `clientAuth`)
/// and name its host as DNS entry of the subject alternative name, or, without such entries, as common name.
public struct ControlTLS: Sendable, Equatable {
    /// Path of the certificates of the authority that signs the hosts' certificates; the system's roots are not believed.
    public var authorityFile: String
    /// Path of this host's certificate, followed by intermediate ones if there are any.
    public var certificateFile: String
    /// Path of this host's private key.
    public var keyFile: String

    public init(authorityFile: String, certificateFile: String, keyFile: String) {
        self.authorityFile = authorityFile
        self.certificateFile = certificateFile
        self.keyFile = keyFile
    }
}
