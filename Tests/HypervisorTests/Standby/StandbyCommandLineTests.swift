import Testing

@testable import Hypervisor

@Suite struct StandbyCommandLineTests {
    private let standby = CommandLineFixture.standby
    private let rehearsal = CommandLineFixture.rehearsal

    @Test func `an ordinary machine keeps its hardware`() throws {
        let hardware = [
            "-name", "web,debug-threads=on", "-uuid", "5c1e1d5e-7b63-4b4a-9a42-5e6a2c1f0d11", "-accel", "kvm", "-cpu", "EPYC,+x2apic",
            "-smp", "4,sockets=1", "-m", "2G", "-nodefaults", "-vga", "none", "-device", "virtio-net-pci,netdev=n0,romfile=",
            "-append", "console=ttyS0 quiet", "-rtc", "base=utc", "-global", "a.b=c", "-no-shutdown", "-sandbox", "on,spawn=deny",
        ]
        for fixture in [standby, rehearsal] { #expect(try fixture.result(of: hardware) == hardware) }
    }

    @Test func `the standby waits, stopped, behind a private monitor`() throws {
        let line = try standby.derive(["-S", "-incoming", "tcp:0:4444", "-qmp", "unix:/tmp/q,server", "-monitor", "stdio"])
        #expect(
            line.argv
                == ["/usr/bin/qemu-system-x86_64", "-machine", "pc-q35-7.2", "-display", "none"] + CommandLineFixture.own)
        #expect(line.qmpSocket == "/run/u/s.qmp")
    }

    @Test func `a derived command line can be derived again`() throws {
        let first = try standby.derive([
            "-M", "q35", "-daemonize", "-netdev", "tap,id=n0,fd=30,vhostfd=31", "-serial", "file:x.log", "-kernel", "k",
            "-object", "memory-backend-file,id=m,size=1G,mem-path=/dev/shm/a,share=on", "-device", "vmgenid,guid=auto",
        ])
        let second = try standby.derive(Array(first.argv.dropFirst()))
        #expect(second.argv == first.argv)
    }

    @Test(arguments: [
        ["-daemonize"], ["-pidfile", "/run/x.pid"], ["-D", "/var/log/q"], ["-d", "guest_errors"], ["-qmp", "unix:/q,server=on"],
        ["-qmp-pretty", "stdio"], ["-monitor", "stdio"], ["-mon", "chardev=m,mode=control"], ["-S"], ["-s"], ["-gdb", "tcp::1234"],
        ["-incoming", "defer"], ["-loadvm", "x"], ["-trace", "events=/x"], ["-mem-path", "/dev/hugepages"], ["--daemonize"],
    ])
    func `what belongs to the primary's process is dropped`(words: [String]) throws {
        for fixture in [standby, rehearsal] {
            #expect(try fixture.result(of: words).isEmpty)
            let rules = try fixture.derive(words).rules
            #expect(rules.contains { words[0].hasSuffix($0.option) && $0.to == nil && !$0.why.isEmpty })
        }
    }

    @Test(arguments: [
        ["-readconfig", "/etc/vm.cfg"], ["-add-fd", "fd=3,set=1"], ["-drive", "file=/dev/fdset/1"], ["-preconfig"], ["-xen-attach"],
        ["-tpmdev", "emulator,id=t,chardev=c"], ["-frobnicate", "x"], ["-netdev", "vde,id=n0"],
        ["-netdev", "vhost-user,id=n0,chardev=c"], ["-netdev", "stream,id=n0,addr.type=fd,addr.str=3"],
        ["-device", "vhost-user-blk-pci,chardev=c"], ["-device", "vfio-pci,host=01:00.0"], ["-m"],
        ["-device", "vhost-vsock-pci,guest-cid=3,vhostfd=7"], ["-netdev", "{\"type\":"], ["-netdev", ""],
    ])
    func `what cannot work on another host is refused by name`(words: [String]) {
        let error = #expect(throws: HypervisorError.self) { try standby.derive(words) }
        #expect(error?.code == .optionRefused)
        #expect(error?.message.contains(words[0]) == true || words[1].hasPrefix("{"))
    }

    @Test func `the configuration removes and appends`() throws {
        var fixture = standby
        fixture.overrides.remove = ["-frobnicate", "-device nvme", "-vnc"]
        fixture.overrides.append = ["-vnc", ":7"]
        let words = ["-frobnicate", "x", "-device", "nvme,drive=d", "-device", "e1000", "-vnc", ":1"]
        let line = try fixture.derive(words)
        #expect(try fixture.result(of: words) == ["-device", "e1000", "-vnc", ":7"])
        #expect(line.warnings.isEmpty)
        #expect(line.rules.filter { $0.why == "as the configuration says" }.count == 5)
        #expect(try fixture.derive([]).warnings.count == 3)
    }

    @Test(arguments: ["q35", "pc-q35-7.2"]) func `the machine type is pinned`(type: String) throws {
        let line = try standby.derive(["-machine", "\(type),memory-backend=m,kernel=/k"])
        #expect(line.argv[2] == "pc-q35-7.2,memory-backend=m,kernel=/k")
        #expect(line.rules.contains { $0.option == "-machine" } == (type == "q35"))
        #expect(try standby.derive(["-machine", "accel=kvm"]).argv[1...4] == ["-machine", "accel=kvm", "-machine", "pc-q35-7.2"])
        #expect(try standby.derive(["-M", "type=q35,accel=kvm"]).argv[1...2] == ["-M", "type=pc-q35-7.2,accel=kvm"])
    }

    @Test func `the generation id is the primary's`() throws {
        let pinned = "vmgenid,guid=324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87,id=g"
        #expect(try standby.value("-device", "vmgenid,guid=auto,id=g") == pinned)
        #expect(try standby.value("-device", pinned) == pinned)
        var unknown = standby
        unknown.machine.vmGenerationID = nil
        #expect(throws: HypervisorError.self) { try unknown.derive(["-device", "vmgenid,guid=auto"]) }
    }

    @Test func `RAM in a file becomes a memfd with the same id`() throws {
        let file = "memory-backend-file,id=m,size=1G,mem-path=/dev/shm/a,share=on,align=2M,prealloc=on"
        for fixture in [standby, rehearsal] {
            #expect(try fixture.value("-object", file) == "memory-backend-memfd,id=m,size=1G,share=on,prealloc=on")
        }
        #expect(
            try standby.value("-object", "memory-backend-file,id=m,size=1G,mem-path=/x")
                == "memory-backend-memfd,id=m,size=1G,share=off")
        var chosen = standby
        chosen.overrides.paths = ["/dev/shm/a": "/dev/hugepages/b"]
        #expect(
            try chosen.value("-object", file) == "memory-backend-file,id=m,size=1G,mem-path=/dev/hugepages/b,share=on,align=2M,prealloc=on")
        chosen.purpose = .rehearsal
        #expect(try chosen.value("-object", file)?.hasPrefix("memory-backend-memfd") == true)
        let json = #"{"qom-type":"memory-backend-file","id":"m","size":1024,"mem-path":"/x","share":true}"#
        #expect(try standby.value("-object", json) == #"{"id":"m","qom-type":"memory-backend-memfd","share":true,"size":1024}"#)
    }

    @Test func `files that QEMU reads are listed with their absolute paths`() throws {
        let line = try standby.derive([
            "-kernel", "vmlinuz", "-initrd", "/boot/i", "-bios", "bios.bin", "-cdrom", "cd,iso.iso",
            "-drive", "file=d,,x.raw,format=raw,if=virtio", "-blockdev", "driver=qcow2,node-name=a,file.driver=file,file.filename=/img/a",
            "-blockdev", #"{"driver":"raw","node-name":"b","file":{"driver":"file","filename":"b.raw"}}"#, "-drive", "file=nbd:h:1,if=none",
            "-smbios", "type=1,serial=x", "-fw_cfg", "name=opt/x,file=/f", "-device", "e1000,romfile=/rom/e", "-object",
            "rng-random,id=r,filename=/dev/urandom", "disk.img", "-object", "secret,id=s,file=key",
        ])
        #expect(
            line.requiredFiles == [
                "/usr/bin/qemu-system-x86_64", "/home/op/vmlinuz", "/boot/i", "/home/op/cd,iso.iso", "/home/op/d,x.raw", "/img/a",
                "/home/op/b.raw", "/f", "/rom/e", "/dev/urandom", "/home/op/disk.img", "/home/op/key",
            ])
        #expect(line.argv.contains("file=/home/op/d,,x.raw,format=raw,if=virtio"))
        #expect(line.argv.contains("file=nbd:h:1,if=none"))
        #expect(line.argv.contains("bios.bin"))
        #expect(line.argv.contains(#"{"driver":"raw","file":{"driver":"file","filename":"/home/op/b.raw"},"node-name":"b"}"#))
    }

    @Test func `the configuration's paths win, relative or absolute`() throws {
        var fixture = standby
        fixture.overrides.paths = ["/home/op/vmlinuz": "/srv/k", "i.gz": "/srv/i", "/x.log": "/srv/x.log"]
        let words = ["-kernel", "vmlinuz", "-initrd", "i.gz", "-serial", "file:/x.log"]
        #expect(try fixture.result(of: words) == ["-kernel", "/srv/k", "-initrd", "/srv/i", "-serial", "file:/srv/x.log"])
        #expect(try fixture.derive(words).requiredFiles == ["/usr/bin/qemu-system-x86_64", "/srv/k", "/srv/i"])
    }

    @Test func `a host's processor is warned about`() throws {
        #expect(try standby.derive(["-cpu", "host,migratable=on"]).warnings.count == 1)
        #expect(try standby.derive(["-cpu", "EPYC"]).warnings.isEmpty)
    }

    @Test func `a replaced program is warned about and can be chosen`() throws {
        var fixture = standby
        fixture.machine.executable = "/usr/bin/qemu (deleted)"
        #expect(try fixture.derive([]).argv[0] == "/usr/bin/qemu")
        #expect(try fixture.derive([]).warnings.count == 1)
        fixture.overrides.executable = "/opt/qemu"
        #expect(try fixture.derive([]).argv[0] == "/opt/qemu")
    }

    @Test(arguments: [
        ("relative", "s"), ("/run/u/", "s"), ("/run/u", ""), ("/run/u", "a/b"), ("/" + String(repeating: "x", count: 110), "s"),
    ])
    func `unusable folders and names are refused`(folder: String, name: String) {
        let error = #expect(throws: HypervisorError.self) {
            try StandbyCommandLine.derive(from: ["q"], machine: standby.machine, purpose: .standby, runtimeFolder: folder, name: name)
        }
        #expect(error?.code == .badDerivation)
    }

    @Test func `a rule reads as one line`() throws {
        let rules = try standby.derive(["-daemonize", "-serial", "stdio"]).rules.map(\.description)
        #expect(rules.contains("-daemonize: dropped, Understudy watches over the process itself"))
        #expect(rules.contains("-serial stdio -> null, the other end is on the primary's host"))
        #expect(rules.contains("-S: added, Understudy's own"))
    }
}
