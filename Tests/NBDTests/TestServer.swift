import Synchronization

@testable import NBD

/// A server at a path of its own, and what it reported.
final class TestServer: Sendable {
    private final class Reports: Sendable {
        let all = Mutex<[NBDError]>([])
    }

    let folder: ScratchFolder
    let server: NBDServer
    private let reports: Reports

    var path: String { "\(folder.path)/nbd" }
    func uri(_ export: String = "disk") -> String { "'nbd+unix:///\(export)?socket=\(path)'" }
    var reported: [NBDError] { reports.all.withLock { $0 } }

    init(_ exports: [any NBDExport]) throws {
        folder = try ScratchFolder()
        let reports = Reports()
        self.reports = reports
        server = try NBDServer(socketPath: "\(folder.path)/nbd", exports: exports) { error in reports.all.withLock { $0.append(error) } }
    }

    func stop() { server.stop() }
}
