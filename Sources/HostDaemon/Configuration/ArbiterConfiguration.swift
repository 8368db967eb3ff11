internal import Arbiter
internal import Foundation

extension DaemonConfiguration {
    /// Who decides: etcd, or a folder.
    public struct ArbiterConfiguration: Codable, Sendable {
        /// `http://address:port` or `https://address:port` of etcd members; they are tried in order.
        public var etcd: [String]?
        /// A folder on storage that both hosts share.
        public var folder: String?
        /// PEM files for `https`: who signed etcd's certificates, and with what this host shows itself.
        public var authority: String?
        public var certificate: String?
        public var key: String?
        /// A user of etcd's, and the file with the password.
        public var user: String?
        public var passwordFile: String?

        private enum CodingKeys: String, CodingKey, CaseIterable {
            case etcd, folder, authority, certificate, key, user, passwordFile = "password-file"
        }

        static let keys = CodingKeys.allCases.map(\.rawValue)

        var security: EtcdSecurity {
            EtcdSecurity(authority: authority, certificate: certificate, key: key, user: user, passwordFile: passwordFile)
        }

        func validate(_ demand: (Bool, String) throws(HostDaemonError) -> Void) throws(HostDaemonError) {
            try demand((etcd?.isEmpty == false) != (folder != nil), "`arbiter` needs either `etcd` (a list of URLs) or `folder`")
            try demand((certificate == nil) == (key == nil), "`arbiter.certificate` and `arbiter.key` belong together")
            try demand((user == nil) == (passwordFile == nil), "`arbiter.user` and `arbiter.password-file` belong together")
            let isSecure = etcd?.contains { $0.hasPrefix("https://") } == true
            try demand(
                !isSecure || authority != nil, "`arbiter.etcd` speaks https: name who signed its certificates in `arbiter.authority`")
            try demand(isSecure || (authority == nil && certificate == nil), "`arbiter.authority` needs https URLs in `arbiter.etcd`")
            for file in [authority, certificate, key, passwordFile].compactMap({ $0 }) {
                try demand(FileManager.default.isReadableFile(atPath: file), "the file \(file) of `arbiter` is missing or cannot be read")
            }
        }
    }
}
