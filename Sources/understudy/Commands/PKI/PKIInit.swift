import ArgumentParser
import HostCertificates

struct PKIInit: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Make an authority: authority.key and authority.pem. Nothing is overwritten.")

    @Option(help: "The authority's common name.")
    var name = "Understudy authority"

    @Option(help: "How long it is good.")
    var days = 3650

    @OptionGroup var place: PKIFolder

    func run() throws {
        let (files, summary) = try PKICommand.perform { () throws(CertificateError) in
            let authority = try CertificateAuthority.create(in: place.folder, name: name, days: days, now: PKICommand.now)
            return (authority.files, try authority.summary)
        }
        if place.json { return print(Output.json(CertificateDocument(file: files.certificate, key: files.key, summary))) }
        print(CertificateText.render(summary, file: files.certificate))
        Output.note(
            "Next: `understudy pki issue HOST --folder \(place.folder)` for every host. \(files.key) makes hosts: keep it off them.")
    }
}
