// Serves memory or a file until standard input ends. Usage: nbd-serve SOCKET BYTES [FILE]
import Glibc
import NBD
import NBDTestExports

@Sendable func complain(_ text: String) {
    let line = Array("nbd-serve: \(text)\n".utf8)
    _ = write(2, line, line.count)
}

let arguments = CommandLine.arguments
guard arguments.count >= 3, let byteCount = UInt64(arguments[2]) else {
    complain("usage: nbd-serve SOCKET BYTES [FILE]")
    exit(64)
}
do {
    let export: any NBDExport =
        if arguments.count > 3 {
            try FileExport(name: "disk", path: arguments[3], byteCount: byteCount)
        } else {
            MemoryExport(name: "disk", byteCount: Int(byteCount))
        }
    let server = try NBDServer(socketPath: arguments[1], exports: [export]) { complain("\($0)") }
    while getchar() != EOF {}
    server.stop()
} catch {
    complain("\(error)")
    exit(1)
}
