import ArgumentParser
import HostCertificates

struct PKIIssue: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "issue",
        abstract: "Make a host's certificate and key: HOST.pem and HOST.key beside the authority's. Nothing is overwritten.")

    @Argument(help: "The hosts' names, as `name` in their configurations.")
    var hosts: [String]

    @Option(help: "How long they are good; not beyond the authority.")
    var days = 825

    @OptionGroup var place: PKIFolder

    func run() throws {
        for host in hosts {
            let (files, summary) = try PKICommand.perform { () throws(CertificateError) in
                try CertificateAuthority.load(from: place.folder).issue(host, days: days, now: PKICommand.now)
            }
            if place.json {
                print(Output.json(CertificateDocument(file: files.certificate, key: files.key, summary)))
            } else {
                print(CertificateText.render(summary, file: files.certificate))
                Output.note("Copy \(files.certificate), \(files.key) and \(place.folder)/authority.pem to /etc/understudy on \(host).")
            }
        }
    }
}
