internal import Foundation
internal import Glibc

/// The file of a disk's copy on the backup host: whether it may be overwritten.
struct DiskCopy {
    let path: String

    /// Lies beside the image.
    private var signaturePath: String { path + ".understudy" }

    private var signature: CopySignature? {
        (try? String(contentsOfFile: signaturePath, encoding: .utf8)).flatMap(CopySignature.init(text:))
    }

    /// Refuses a file that holds something else, or that somebody uses, or that may be the machine's newest disk.
    ///
    /// - Parameter generation: of the arbiter's record, by which another host runs the machine.
    func demandFree(machine: String, disk: String, generation: UInt64, overwrite: Bool) throws(HostDaemonError) {
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
        let signature = signature
        guard status.st_size > 0, !overwrite, signature?.yields(to: machine, in: generation) != true else { return }
        guard let signature, signature.machine == machine else {
            throw HostDaemonError(
                .refused,
                "\(path) is there already and holds something: remove it, name another place by `--disk \(disk)=PATH`, or allow to overwrite it by `--overwrite`"
            )
        }
        throw HostDaemonError(
            .refused,
            "\(path) may be the newest disk of \(machine): the machine itself ran on it here, and no host is known to have gone on from there. If that disk is the right one, end the guest that runs now and start the machine from it; else keep it and name another place by `--disk \(disk)=PATH`, or allow to overwrite it by `--overwrite`"
        )
    }

    private var isLocked: Bool {
        let descriptor = open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return ImageLock.isTaken(descriptor)
    }

    /// Says durably that the image is the copy of a machine's disk from now on.
    func sign(machine: String) throws(HostDaemonError) { try write(CopySignature(machine: machine, state: .copy)) }

    /// Says durably what has become of an image that was a machine's copy; one that never was is left alone.
    func mark(_ state: CopySignature.State, machine: String) throws(HostDaemonError) {
        guard let signature, signature.machine == machine, signature.state != state else { return }
        try write(CopySignature(machine: machine, state: state))
    }

    /// Says durably that the machine runs on an image of its own, from this generation on, whatever was said of that image before.
    /// Anything but a file is left alone.
    func claim(machine: String, since generation: UInt64) throws(HostDaemonError) {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return }
        let claim = CopySignature(machine: machine, state: .ran(since: generation))
        if signature != claim { try write(claim) }
    }

    /// Whether a machine may have its copy here though the image was its own: it is there, nobody uses it, and the generation proves that
    /// another host has gone on from it.
    func isSuperseded(machine: String, generation: UInt64) -> Bool {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG, !isLocked else { return false }
        return signature?.yields(to: machine, in: generation) == true
    }

    /// Marks all of a machine's images.
    ///
    /// - Returns: a sentence for the operator about each one that is not marked and should be.
    static func mark(_ paths: [String], _ state: CopySignature.State, machine: String) -> [String] {
        paths.compactMap { path in
            do throws(HostDaemonError) {
                try DiskCopy(path: path).mark(state, machine: machine)
                return nil
            } catch {
                return "\(error.message): do not let a later `protect` overwrite \(path) before you know whether it is the newest disk"
            }
        }
    }

    /// Written in its place, so that it needs no room on a disk that is full.
    private func write(_ signature: CopySignature) throws(HostDaemonError) {
        let isNew = access(signaturePath, F_OK) != 0
        let descriptor = open(signaturePath, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure() }
        defer { close(descriptor) }
        let bytes = Array(signature.text.utf8)
        guard pwrite(descriptor, bytes, bytes.count, 0) == bytes.count, ftruncate(descriptor, off_t(bytes.count)) == 0,
            fdatasync(descriptor) == 0
        else { throw failure() }
        if isNew { try flushFolder() }
    }

    /// The name of a new file is durable only with its folder.
    private func flushFolder() throws(HostDaemonError) {
        let folder = open((path as NSString).deletingLastPathComponent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else { throw failure() }
        defer { close(folder) }
        guard fsync(folder) == 0 else { throw failure() }
    }

    private func failure() -> HostDaemonError {
        HostDaemonError(.system, "\(signaturePath) cannot be written: \(String(cString: strerror(errno)))")
    }
}
