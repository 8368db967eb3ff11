// SPDX-License-Identifier: Apache-2.0

/// How a host proves itself to etcd, and etcd to it.
public struct EtcdSecurity: Sendable, Equatable {
    /// PEM of the authority that signed the members' certificates; needed for `https` endpoints.
    public var authority: String?
    /// PEM files of this host's certificate and its key, for members that ask for one.
    public var certificate: String?
    public var key: String?
    /// A user of etcd's own (`etcdctl user add`), and the file that holds the password in its first line.
    public var user: String?
    public var passwordFile: String?

    public init(
        authority: String? = nil, certificate: String? = nil, key: String? = nil, user: String? = nil, passwordFile: String? = nil
    ) {
        self.authority = authority
        self.certificate = certificate
        self.key = key
        self.user = user
        self.passwordFile = passwordFile
    }
}
