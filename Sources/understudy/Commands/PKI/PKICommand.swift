import ArgumentParser
import Foundation
import HostCertificates

struct PKICommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pki", abstract: "Make and show the certificates by which hosts know each other; works without the daemon.",
        subcommands: [PKIInit.self, PKIIssue.self, PKIShow.self])

    /// Seconds since 1970.
    static var now: Int64 { Int64(Date().timeIntervalSince1970) }

    /// Turns a failure into a message on standard error and exit code 1.
    static func perform<Result>(_ body: () throws(CertificateError) -> Result) throws -> Result {
        do throws(CertificateError) { return try body() } catch {
            Output.complain(error.message)
            throw ExitCode(1)
        }
    }
}

/// Where an authority lies.
struct PKIFolder: ParsableArguments {
    @Option(help: "The authority's folder. Keep it off the hosts: who has its key can make a host.")
    var folder = "understudy-pki"

    @Flag(help: "Print JSON instead of text.")
    var json = false
}
