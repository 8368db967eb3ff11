internal import Foundation
internal import Glibc

/// The file of a disk's copy on the backup host: whether it may be overwritten.
struct DiskCopy {
    let path: String

    /// Says beside the image whose copy it is, so that it may be written again without a question.
    private var signature: String { path + ".understudy" }

    /// Refuses a file that holds something else, or that somebody uses.
    func demandFree(machine: String, disk: String, overwrite: Bool) throws(HostDaemonError) {
        var status = stat()
        guard stat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw HostDaemonError(.refused, "\(path) is no file: name another place by `--disk \(disk)=PATH`")
        }
        guard !isLocked else {
            throw HostDaemonError(
                .refused,
                "\(path) is in use by a QEMU, or as the copy of another disk: end that, or name another place by `--disk \(disk)=PATH`")
        }
        let owner = (try? String(contentsOfFile: signature, encoding: .utf8))?.trimmingCharacters(in: .whitespacesAndNewlines)
        guard status.st_size == 0 || owner == machine || overwrite else {
            throw HostDaemonError(
                .refused,
                "\(path) is there already and holds something: remove it, name another place by `--disk \(disk)=PATH`, or allow to overwrite it by `--overwrite`"
            )
        }
    }

    private var isLocked: Bool {
        let descriptor = open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return ImageLock.isTaken(descriptor)
    }

    func sign(machine: String) throws(HostDaemonError) {
        do { try (machine + "\n").write(toFile: signature, atomically: true, encoding: .utf8) } catch {
            throw HostDaemonError(.system, "\(signature) cannot be written: \(error.localizedDescription)", cause: error)
        }
    }
}
