import Testing

@testable import Hypervisor

/// A replicated disk is one raw image on the standby, whatever it is on the primary.
@Suite struct StandbyDiskTests {
    private func fixture(_ purpose: StandbyCommandLine.Purpose = .standby, node: String = "#block1", file: String = "/images/a.qcow2")
        -> CommandLineFixture
    {
        var fixture = CommandLineFixture(purpose: purpose)
        fixture.overrides.disks = [StandbyDisk(name: "d0", node: node, file: file, path: "/copies/a,b.raw")]
        return fixture
    }

    @Test func `a drive keeps its bus and cache and loses its format`() throws {
        let line =
            "file=/images/a.qcow2,format=qcow2,if=none,id=d0,cache=none,aio=native,discard=unmap,l2-cache-size=1M,lazy-refcounts=on,werror=stop"
        #expect(
            try fixture().value("-drive", line)
                == "if=none,id=d0,cache=none,aio=native,discard=unmap,werror=stop,file=/copies/a,,b.raw,format=raw")
        #expect(try fixture().derive(["-drive", line]).requiredFiles == ["/usr/bin/qemu-system-x86_64"])
    }

    @Test func `a relative path is the same file`() throws {
        let relative = fixture(file: "a.qcow2")
        #expect(try relative.value("-drive", "file=/home/op/a.qcow2,if=virtio") == "if=virtio,file=/copies/a,,b.raw,format=raw")
    }

    @Test(arguments: [("-hda", "index=0,media=disk"), ("-hdc", "index=2,media=disk"), ("-pflash", "if=pflash")])
    func `a shorthand becomes a drive of its kind`(option: String, rest: String) throws {
        #expect(try fixture().result(of: [option, "/images/a.qcow2"]) == ["-drive", "file=/copies/a,,b.raw,format=raw,\(rest)"])
    }

    @Test func `a graph of block nodes becomes one node of the same name`() throws {
        let words = [
            "-blockdev", "driver=file,node-name=f0,filename=/images/a.qcow2,cache.direct=on", "-blockdev",
            "driver=qcow2,node-name=d0,file=f0,cache.direct=on,discard=unmap,backing=b0", "-blockdev",
            "driver=qcow2,node-name=b0,read-only=on,file.driver=file,file.filename=/images/base", "-device", "virtio-blk-pci,drive=d0",
        ]
        #expect(
            try fixture(node: "d0").result(of: words) == [
                "-blockdev",
                "driver=raw,node-name=d0,discard=unmap,file.driver=file,file.filename=/copies/a,,b.raw,cache.direct=on,file.cache.direct=on",
                "-device", "virtio-blk-pci,drive=d0",
            ])
    }

    @Test func `a node in JSON, and one below a filter, are found too`() throws {
        let json = #"{"driver":"qcow2","node-name":"d0","file":{"driver":"file","filename":"/images/a.qcow2","cache":{"direct":true}}}"#
        #expect(
            try fixture(node: "d0").result(of: ["-blockdev", json]) == [
                "-blockdev", "driver=raw,node-name=d0,file.driver=file,file.filename=/copies/a,,b.raw,cache.direct=on,file.cache.direct=on",
            ])
        let throttled = ["-blockdev", json, "-blockdev", "driver=throttle,node-name=t0,throttle-group=g,file=d0"]
        #expect(
            try fixture(node: "t0").result(of: throttled) == [
                "-blockdev", "driver=raw,node-name=d0,file.driver=file,file.filename=/copies/a,,b.raw,cache.direct=on,file.cache.direct=on",
                "-blockdev", "driver=throttle,node-name=t0,throttle-group=g,file=d0",
            ])
    }

    @Test func `other disks stay what they are`() throws {
        let words = ["-drive", "file=/images/cd.iso,media=cdrom,readonly=on", "-drive", "file=/images/a.qcow2,if=virtio"]
        #expect(try fixture().result(of: words)[1] == words[1])
        #expect(try fixture().derive(words).requiredFiles == ["/usr/bin/qemu-system-x86_64", "/images/cd.iso"])
    }

    @Test func `a rehearsal never opens the copy`() throws {
        let rehearsal = fixture(.rehearsal)
        #expect(try rehearsal.value("-drive", "file=/images/a.qcow2,if=virtio") == "if=virtio,file=/run/u/rehearsal.disk0.raw,format=raw")
        #expect(StandbyCommandLine.rehearsalImage(ofDisk: 0, in: "/run/u") == "/run/u/rehearsal.disk0.raw")
    }

    @Test(arguments: [[], ["-drive", "file=/images/other.qcow2,if=virtio"], ["-drive", "file=/images/b.qcow2,snapshot=on,if=virtio"]])
    func `a disk that is not on the command line is refused by name`(words: [String]) {
        let error = #expect(throws: HypervisorError.self) { try fixture().derive(words) }
        #expect(error?.code == .optionRefused && error?.message.contains("d0 (/images/a.qcow2)") == true)
    }
}
