import Testing

@testable import Hypervisor

@Suite struct StandbyBackEndTests {
    private let standby = CommandLineFixture.standby
    private let rehearsal = CommandLineFixture.rehearsal

    @Test(arguments: [
        ("tap,id=n0,ifname=tap0", "tap,id=n0,ifname=tap0,script=no,downscript=no"),
        ("tap,id=n0,ifname=tap0,script=/etc/up,downscript=/etc/down,vhost=on", "tap,id=n0,ifname=tap0,script=no,downscript=no,vhost=on"),
        ("tap,id=n0,fd=33,vhost=on,vhostfd=34", "tap,id=n0,vhost=on,ifname=tap0,script=no,downscript=no"),
        ("tap,id=n0,fds=3:4,vhostfds=5:6", "tap,id=n0,ifname=tap0,script=no,downscript=no,queues=2,vhost=on"),
        ("bridge,id=n0,br=br0", "tap,id=n0,ifname=tap0,script=no,downscript=no"),
        ("tap,id=n0", "tap,id=n0,ifname=tap0,script=no,downscript=no"),
        (#"{"type":"tap","id":"n0","fd":"31"}"#, #"{"downscript":"no","id":"n0","ifname":"tap0","script":"no","type":"tap"}"#),
    ])
    func `a tap is opened by name and runs no script`(from: String, to: String) throws {
        #expect(try standby.value("-netdev", from) == to)
    }

    @Test func `the standby's taps are listed and can be renamed`() throws {
        var fixture = standby
        fixture.overrides.taps = ["tap0": "web-b"]
        fixture.machine.taps["n0"] = MachineFacts.Tap(name: "tap0", vnetHeader: false, queues: 2)
        let line = try fixture.derive(["-netdev", "tap,id=n0,fds=3:4"])
        #expect(line.taps == [StandbyCommandLine.Tap(netdev: "n0", primary: "tap0", name: "web-b", vnetHeader: false, queues: 2)])
        #expect(line.argv.contains("tap,id=n0,ifname=web-b,script=no,downscript=no,queues=2,vnet_hdr=off"))
        #expect(try fixture.derive(["-nic", "tap,model=virtio-net-pci,ifname=tap0"]).taps.map(\.name) == ["web-b"])
        fixture.overrides.taps = ["tap0": "much-too-long-a-name"]
        #expect(throws: HypervisorError.self) { try fixture.derive(["-netdev", "tap,id=n0,ifname=tap0"]) }
        fixture.machine.taps = [:]
        #expect(throws: HypervisorError.self) { try fixture.derive(["-netdev", "tap,id=n0,fd=3"]) }
    }

    @Test func `every card's tap is derived by itself`() throws {
        var fixture = standby
        fixture.machine.taps = [
            "n0": MachineFacts.Tap(name: "tap0"), "hostnet1": MachineFacts.Tap(name: "vnet7"),
            "n2": MachineFacts.Tap(name: "tap2", queues: 4),
        ]
        fixture.overrides.taps = ["vnet7": "web-b"]
        let line = try fixture.derive([
            "-netdev", "tap,id=n0,ifname=tap0", "-netdev", #"{"type":"tap","id":"hostnet1","fd":"31"}"#, "-nic",
            "tap,model=e1000,ifname=other", "-netdev", "tap,id=n2,ifname=tap2,queues=4",
        ])
        #expect(line.taps.map(\.name) == ["tap0", "web-b", "other", "tap2"])
        #expect(line.taps.map(\.primary) == ["tap0", "vnet7", "other", "tap2"])
        #expect(line.taps.map(\.queues) == [1, 1, 1, 4])
        let rules = line.rules.filter { $0.option == "-netdev" || $0.option == "-nic" }.map(\.description)
        #expect(rules.count == 4 && rules[1].contains("web-b"), "every change is printed: \(rules)")

        fixture.overrides.taps = ["vnet7": "tap0"]
        let twice = #expect(throws: HypervisorError.self) {
            try fixture.derive(["-netdev", "tap,id=n0,ifname=tap0", "-netdev", "tap,id=hostnet1,fd=31"])
        }
        #expect(twice?.message.contains("share the standby's tap tap0") == true)
        let unnamed = #expect(throws: HypervisorError.self) { try fixture.derive(["-nic", "tap,fd=5"]) }
        #expect(unnamed?.message.contains("ifname") == true)
    }

    @Test func `a rehearsal's tap is a throwaway with the same offloads`() throws {
        let line = try rehearsal.derive(["-netdev", "tap,id=n0,ifname=tap0,vhost=on", "-netdev", "tap,id=n1,ifname=tap1"])
        let taps = line.argv.filter { $0.hasPrefix("tap,") }
        #expect(line.taps.isEmpty && taps.count == 2)
        #expect(!taps.contains { $0.contains("ifname=tap") })
        let names = taps.compactMap { $0.split(separator: ",").first { $0.hasPrefix("ifname=") }?.dropFirst(7) }
        #expect(Set(names).count == 2)
        for name in names { #expect(name.count == 15 && name.hasPrefix("usr")) }
        #expect(taps[0].hasSuffix(",vhost=on,script=no,downscript=no") || taps[0].contains(",vhost=on"))
    }

    @Test func `a netdev on no tap goes the same way on the standby, and is deaf until the takeover`() throws {
        let line = try standby.derive(["-netdev", "stream,id=n1,server=off,addr.type=unix,addr.path=switch.sock"])
        #expect(line.deafNetworks == ["n1"] && line.taps.isEmpty)
        #expect(line.argv.contains("stream,id=n1,server=off,addr.type=unix,addr.path=/home/op/switch.sock"))
        #expect(line.argv.contains("null,id=understudy-deaf-n1"))
        #expect(line.argv.contains("filter-redirector,id=understudy-deaf-n1,netdev=n1,queue=all,outdev=understudy-deaf-n1"))
        // A machine that was a standby once has these options itself.
        let again = try standby.derive(Array(line.argv.dropFirst().dropLast(CommandLineFixture.own.count)))
        #expect(again.argv == line.argv)
        for value in ["dgram,id=n1,local.type=inet,local.host=::1,local.port=7", "socket,id=n1,mcast=230.0.0.1:1234"] {
            #expect(try standby.derive(["-netdev", value]).argv.contains(value))
        }
    }

    @Test func `a netdev on no tap can lead elsewhere on the standby`() throws {
        var fixture = standby
        fixture.overrides.netdevs = ["n1": "stream,server=off,addr.type=inet,addr.host=10.0.0.9,addr.port=7000"]
        let chosen = "stream,server=off,addr.type=inet,addr.host=10.0.0.9,addr.port=7000,id=n1"
        for value in ["stream,id=n1,server=off,addr.type=fd,addr.str=5", "socket,id=n1,fd=7", #"{"type":"dgram","id":"n1"}"#] {
            #expect(try fixture.derive(["-netdev", value]).argv.contains(chosen))
        }
        fixture.overrides.netdevs = [:]
        for words in [
            ["-netdev", "stream,id=n1,server=off,addr.type=fd,addr.str=5"], ["-netdev", "socket,id=n1,fd=7"],
            ["-netdev", #"{"type":"stream","id":"n1","addr":{"type":"fd","str":"5"}}"#], ["-nic", "socket,mcast=230.0.0.1:1234"],
        ] {
            #expect(throws: HypervisorError.self) { try fixture.derive(words) }
        }
    }

    @Test func `a rehearsal's netdev on no tap reaches nobody`() throws {
        let line = try rehearsal.derive(["-netdev", "stream,id=n1,addr.type=unix,addr.path=/switch", "-netdev", "dgram,id=n2"])
        #expect(line.argv.filter { $0.hasPrefix("hubport") } == ["hubport,id=n1,hubid=7641", "hubport,id=n2,hubid=7642"])
        #expect(!line.argv.contains { $0.contains("/switch") || $0.contains("filter-redirector") })
    }

    @Test func `a user network is cut off in a rehearsal`() throws {
        let value = "user,id=n0,hostfwd=tcp::22-:22,hostfwd=tcp::80-:80,tftp=/t"
        #expect(try rehearsal.value("-netdev", value) == "user,id=n0,restrict=on")
        #expect(try standby.value("-netdev", value) == value)
        #expect(try standby.derive(["-netdev", value]).warnings.count == 1)
    }

    @Test(arguments: [
        ("null", "null"), ("none", "none"), ("vc:80Cx24C", "vc:80Cx24C"), ("chardev:c0", "chardev:c0"), ("pty", "pty"),
        ("stdio", "null"), ("mon:stdio", "null"), ("mon:unix:/x,server", "null"), ("file:/var/log/c", "file:/var/log/c"),
        ("file:c.log", "file:/home/op/c.log"), ("pipe:/p", "null"), ("/dev/ttyS0", "null"), ("udp::4555", "null"),
        ("unix:/run/c.sock,server=on,wait=off", "unix:/run/u/s.c.sock,server=on,wait=off"),
        ("unix:/run/c.sock,server,nowait", "unix:/run/u/s.c.sock,server=on,wait=off"), ("unix:/run/c.sock", "null"),
        ("tcp::4444,server", "tcp::4444,server=on,wait=off"), ("tcp:h:4444", "null"),
        ("telnet::4444,server,nowait", "telnet::4444,server=on,wait=off"),
    ])
    func `a serial port keeps its device and gets an end on the standby's host`(from: String, to: String) throws {
        #expect(try standby.value("-serial", from) == to)
        let kept = ["null", "none", "vc:80Cx24C", "chardev:c0"]
        #expect(try rehearsal.value("-serial", from) == (kept.contains(from) ? from : "null"))
    }

    @Test func `files written by QEMU go to the runtime folder on request`() throws {
        var fixture = standby
        fixture.overrides.outputFiles = .runtimeFolder
        #expect(try fixture.value("-serial", "file:/var/log/c.log") == "file:/run/u/s.c.log")
        #expect(try fixture.value("-chardev", "file,id=c,path=/var/log/c.log") == "file,id=c,path=/run/u/s.c.log")
        #expect(try fixture.value("-chardev", "pty,id=c,logfile=/l/c") == "pty,id=c,logfile=/run/u/s.c")
    }

    @Test(arguments: [
        ("socket,id=c,path=/run/c,server=on", "socket,id=c,path=/run/u/s.c,server=on,wait=off"),
        ("socket,id=c,host=0,port=44,server,nowait", "socket,id=c,host=0,port=44,server=on,wait=off"),
        ("socket,id=c,path=/run/c,mux=on", "null,id=c,mux=on"), ("socket,id=c,fd=5,server=on", "null,id=c"),
        ("file,id=c,path=o.log", "file,id=c,path=/home/op/o.log"), ("stdio,id=c,mux=on,signal=off", "null,id=c,mux=on"),
        ("serial,id=c,path=/dev/ttyS0", "null,id=c"), ("spicevmc,id=c,name=vdagent", "spicevmc,id=c,name=vdagent"),
    ])
    func `a character device keeps its id`(from: String, to: String) throws {
        #expect(try standby.value("-chardev", from) == to)
    }

    @Test func `character devices of monitors and of rehearsals reach nobody`() throws {
        let words = ["-chardev", "socket,id=m,path=/q,server=on,wait=off", "-mon", "chardev=m,mode=control"]
        #expect(try standby.result(of: words) == ["-chardev", "null,id=m"])
        #expect(try rehearsal.value("-chardev", "file,id=c,path=/x,logfile=/l") == "null,id=c")
        #expect(try rehearsal.value("-chardev", "socket,id=c,path=/run/c,server=on") == "null,id=c")
    }

    @Test func `screens are none and remote ones survive on a standby only`() throws {
        #expect(try standby.derive(["-display", "gtk"]).argv.contains("none"))
        #expect(try standby.value("-vnc", ":1,password=on") == ":1,password=on")
        #expect(try standby.value("-vnc", "unix:/run/v") == "unix:/run/u/s.v")
        #expect(try standby.value("-vnc", "viewer:1,reverse=on") == nil)
        #expect(try rehearsal.value("-vnc", ":1") == nil)
        #expect(try rehearsal.value("-spice", "port=5900") == "unix=on,addr=/run/u/s.spice,disable-ticketing=on")
        #expect(try standby.value("-spice", "port=5900,tls-port=5901") == "port=5900,tls-port=5901")
        #expect(try rehearsal.derive(["-display", "vnc=:1"]).argv.contains("vnc=:1") == false)
        #expect(try standby.derive(["-nographic"]).argv.contains("-display") == false)
        #expect(try standby.value("-audiodev", "pa,id=a,server=/x") == "none,id=a")
    }

    @Test func `objects that write or watch the host are changed`() throws {
        #expect(try rehearsal.value("-object", "filter-dump,id=f,netdev=n0,file=/x") == nil)
        #expect(try standby.value("-object", "filter-dump,id=f,netdev=n0,file=/x") == "filter-dump,id=f,netdev=n0,file=/x")
        #expect(try standby.value("-object", "input-linux,id=i,evdev=/dev/input/e") == nil)
        #expect(try standby.value("-object", "iothread,id=t") == "iothread,id=t")
        #expect(try standby.value("-run-with", "exit-with-parent=on") == nil)
        #expect(try standby.value("-run-with", "chroot=/j,exit-with-parent=on") == "chroot=/j")
    }
}
