// SPDX-License-Identifier: Apache-2.0

internal import COpenSSL
internal import Glibc

/// TLS 1.2 or later over a connected non-blocking socket, by OpenSSL. Used by one thread.
///
/// The files are read for each connection: renewed ones are used at once.
final class TLSConnection {
    enum Progress {
        case done(Int)
        case ended
        /// The same call is due again when poll(2) shows this.
        case wants(Int16)
    }

    private let context: OpaquePointer
    private let session: OpaquePointer
    private let authority: String

    /// Nothing is sent yet: call `handshake` until it is done.
    init(descriptor: Int32, endpoint: HTTPEndpoint, security: EtcdSecurity) throws(ArbiterError) {
        authority = endpoint.authority
        guard let file = security.authority else {
            throw ArbiterError(
                .badConfiguration, "The arbiter \(endpoint.authority) speaks TLS: name its authority in `arbiter.authority`.")
        }
        guard let context = SSL_CTX_new(TLS_client_method()) else { throw Self.failure("the start of TLS", endpoint.authority) }
        guard let session = Self.prepare(context, descriptor) else {
            SSL_CTX_free(context)
            throw Self.failure("the start of TLS", endpoint.authority)
        }
        self.context = context
        self.session = session
        guard SSL_CTX_load_verify_locations(context, file, nil) == 1 else {
            throw ArbiterError(.badConfiguration, "\(file) is no authority that can be read: correct `arbiter.authority`.")
        }
        try present(security)
        try pin(endpoint)
    }

    deinit {
        SSL_free(session)
        SSL_CTX_free(context)
    }

    /// The macros of OpenSSL's headers that Swift cannot import.
    private static let setMinimumVersion: Int32 = 123
    private static let setServerName: Int32 = 55

    private static func prepare(_ context: OpaquePointer, _ descriptor: Int32) -> OpaquePointer? {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
        guard SSL_CTX_ctrl(context, setMinimumVersion, Int(TLS1_2_VERSION), nil) == 1, let session = SSL_new(context) else { return nil }
        guard SSL_set_fd(session, descriptor) == 1 else {
            SSL_free(session)
            return nil
        }
        SSL_set_connect_state(session)
        return session
    }

    private func present(_ security: EtcdSecurity) throws(ArbiterError) {
        guard let certificate = security.certificate, let key = security.key else { return }
        guard SSL_use_certificate_chain_file(session, certificate) == 1, SSL_use_PrivateKey_file(session, key, SSL_FILETYPE_PEM) == 1,
            SSL_check_private_key(session) == 1
        else {
            ERR_clear_error()
            throw ArbiterError(
                .badConfiguration,
                "\(certificate) and \(key) are no pair that can be used: correct `arbiter.certificate` and `arbiter.key`.")
        }
    }

    /// The certificate must name the very address or name that was configured. The store of trust is the context's: `SSL_new` shares it.
    private func pin(_ endpoint: HTTPEndpoint) throws(ArbiterError) {
        let parameters = SSL_get0_param(session)
        if X509_VERIFY_PARAM_set1_ip_asc(parameters, endpoint.host) == 1 { return }
        ERR_clear_error()
        // SAFETY: OpenSSL copies the name before the call returns.
        let named = endpoint.host.withCString { unsafe SSL_ctrl(session, Self.setServerName, 0, UnsafeMutableRawPointer(mutating: $0)) }
        guard named == 1, SSL_set1_host(session, endpoint.host) == 1 else { throw Self.failure("the server's name", endpoint.authority) }
    }

    func handshake() throws(ArbiterError) -> Progress { try progress(SSL_do_handshake(session), "the handshake") }

    /// - Returns: how many bytes were taken.
    func write(_ bytes: ArraySlice<UInt8>) throws(ArbiterError) -> Progress {
        // SAFETY: SSL_write reads at most `count` bytes of the slice, which lives for the whole call.
        try progress(unsafe bytes.withUnsafeBytes { unsafe SSL_write(session, $0.baseAddress, Int32($0.count)) }, "sending")
    }

    func read(_ buffer: inout [UInt8]) throws(ArbiterError) -> Progress {
        // SAFETY: SSL_read writes at most `count` bytes into the array, which lives for the whole call.
        try progress(unsafe buffer.withUnsafeMutableBytes { unsafe SSL_read(session, $0.baseAddress, Int32($0.count)) }, "receiving")
    }

    private func progress(_ result: Int32, _ what: String) throws(ArbiterError) -> Progress {
        if result > 0 { return .done(Int(result)) }
        switch SSL_get_error(session, result) {
        case SSL_ERROR_WANT_READ: return .wants(Int16(POLLIN))
        case SSL_ERROR_WANT_WRITE: return .wants(Int16(POLLOUT))
        case SSL_ERROR_ZERO_RETURN: return .ended
        default: throw Self.failure(what, authority, verification: SSL_get_verify_result(session))
        }
    }

    private static func failure(_ what: String, _ authority: String, verification: Int = 0) -> ArbiterError {
        var text = [CChar](repeating: 0, count: 256)
        let code = ERR_get_error()
        if code != 0 { ERR_error_string_n(code, &text, text.count) }
        ERR_clear_error()
        var reason = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        if verification != Int(X509_V_OK), let words = X509_verify_cert_error_string(verification) { reason = String(cString: words) }
        if reason.isEmpty { reason = "the connection broke off" }
        return ArbiterError(
            .refused, "TLS with the arbiter \(authority) failed in \(what) (\(reason)): check `arbiter.authority` and the certificates.")
    }
}
