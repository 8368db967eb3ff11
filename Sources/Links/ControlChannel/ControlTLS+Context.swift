// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOSSL

extension ControlTLS {
    /// Which end of a connection a context is for.
    enum Role: Sendable {
        case connecting
        case accepting
    }

    /// Reads the files and makes a context that demands TLS 1.3 and a certificate of the authority from the peer.
    ///
    /// The host name is not verified here: `ControlHandler` pins the configured name, on both ends alike.
    func makeContext(_ role: Role) throws(LinkError) -> NIOSSLContext {
        let chain = try read(certificateFile, "certificate") { try NIOSSLCertificate.fromPEMFile(certificateFile) }
        let authority = try read(authorityFile, "authority's certificate") { try NIOSSLCertificate.fromPEMFile(authorityFile) }
        let key = try read(keyFile, "private key") { try NIOSSLPrivateKey(file: keyFile, format: .pem) }
        guard !chain.isEmpty, !authority.isEmpty else {
            throw LinkError(.configuration, "\(chain.isEmpty ? certificateFile : authorityFile) contains no PEM certificate")
        }
        let sources = chain.map { NIOSSLCertificateSource.certificate($0) }
        var configuration: TLSConfiguration
        switch role {
        case .accepting:
            configuration = .makeServerConfigurationWithMTLS(
                certificateChain: sources, privateKey: .privateKey(key), trustRoots: .certificates(authority))
        case .connecting:
            configuration = .makeClientConfiguration()
            configuration.trustRoots = .certificates(authority)
            configuration.certificateChain = sources
            configuration.privateKey = .privateKey(key)
        }
        configuration.certificateVerification = .noHostnameVerification
        configuration.minimumTLSVersion = .tlsv13
        configuration.maximumTLSVersion = .tlsv13
        configuration.shutdownTimeout = .seconds(1)
        return try read(keyFile, "private key (it must belong to \(certificateFile))") { try NIOSSLContext(configuration: configuration) }
    }

    private func read<Value>(_ file: String, _ what: String, _ body: () throws -> Value) throws(LinkError) -> Value {
        do {
            return try body()
        } catch {
            throw LinkError(.configuration, "\(file) cannot be used as \(what); check that it exists, is readable and PEM", cause: error)
        }
    }
}
