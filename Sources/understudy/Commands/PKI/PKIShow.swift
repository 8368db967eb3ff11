import ArgumentParser
import Foundation
import HostCertificates

struct PKIShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show certificates: names, expiry, fingerprint. Exit code 1 when one is not good now.")

    @Argument(help: "PEM files; without any, every .pem of the folder.")
    var files: [String] = []

    @OptionGroup var place: PKIFolder

    func run() throws {
        let paths = files.isEmpty ? try ownFiles() : files
        var allGood = true
        for path in paths {
            for summary in try PKICommand.perform({ () throws(CertificateError) in try CertificateSummary.read(file: path) }) {
                print(
                    place.json
                        ? Output.json(CertificateDocument(file: path, key: nil, summary)) : CertificateText.render(summary, file: path))
                if [.expired, .notYetValid].contains(summary.validity(at: PKICommand.now)) { allGood = false }
            }
        }
        if !allGood { throw ExitCode(1) }
    }

    private func ownFiles() throws -> [String] {
        let names: [String]
        do {
            names = try FileManager.default.contentsOfDirectory(atPath: place.folder).filter { $0.hasSuffix(".pem") }.sorted()
        } catch {
            Output.complain("the folder \(place.folder) cannot be read: name certificates, or their folder with --folder")
            throw ExitCode(1)
        }
        guard !names.isEmpty else {
            Output.complain("\(place.folder) holds no .pem file: make an authority with `understudy pki init`")
            throw ExitCode(1)
        }
        return names.map { "\(place.folder)/\($0)" }
    }
}
