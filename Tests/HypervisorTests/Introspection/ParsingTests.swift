import Testing
import UnderstudyCore

@testable import Hypervisor

@Suite struct ParsingTests {
    private let old = """
                       Block Name    PSize              Offset               Used              Total
                           pc.ram    4 KiB  0x0000000000000000 0x0000000004000000 0x0000000004000000
         /rom@etc/acpi/tables    4 KiB  0x0000000005100000 0x0000000000020000 0x0000000000200000
        """
    private let new = """
                       Block Name    PSize              Offset               Used              Total                HVA  RO
                           pc.ram    4 KiB  0x0000000000000000 0x0000000004000000 0x0000000004000000 0x00007f9c6be00000  rw
              a block of spaces    4 KiB  0x0000000000000000 0x0000000000001000 0x0000000000001000 0x00007f9c6b000000  ro
        """

    @Test func bothFormsOfTheBlockTableAreRead() throws {
        #expect(
            try RAMBlockListing.parse(old) == [
                RAMBlockListing(name: "pc.ram", usedLength: 0x4000000, totalLength: 0x4000000),
                RAMBlockListing(name: "/rom@etc/acpi/tables", usedLength: 0x20000, totalLength: 0x200000),
            ])
        #expect(try RAMBlockListing.parse(new).map(\.hostAddress) == [0x7f9c_6be0_0000, 0x7f9c_6b00_0000])
        #expect(try RAMBlockListing.parse(new)[1].name == "a block of spaces")
    }

    @Test(arguments: [
        "", "Block Name\n", "unknown command", "Block Name PSize Offset Used Total\n x 4 KiB 0x0 0x2000 0x1000\n",
        "Block Name PSize Offset Used Total\n x 4 KiB 0x0 y 0x1000\n",
        "Block Name PSize Offset Used Total\n x 4 KiB 0x0 0x1000 0xffffffffffffffff\n",
        "Block Name PSize Offset Used Total HVA RO\n x 4 KiB 0x0 0xfffffffffffff000 0xfffffffffffff000 0x1000 rw\n",
    ])
    func anUnknownBlockTableIsAnErrorAndNeverPassedOver(text: String) {
        #expect(throws: HypervisorError.self) { try RAMBlockListing.parse(text) }
    }

    @Test func sectionsOfAFlatViewAreRead() {
        let text = """
             Root memory region: system
              0000000000000000-000000000009ffff (prio 0, ram): pc.ram KVM
              00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem
              00000000000e0000-00000000000fffff (prio 0, rom): pc.bios @0000000000020000
              00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram
              00000000fe000000-00000000fe000fff (prio 1, romd): a name: with colon @0000000000001000 KVM
            """
        #expect(
            MappedSection.parse(text) == [
                MappedSection(guestAddress: 0, region: "pc.ram", offset: 0),
                MappedSection(guestAddress: 0xe0000, region: "pc.bios", offset: 0x20000),
                MappedSection(guestAddress: 0xfd00_0000, region: "vga.vram", offset: 0),
                MappedSection(guestAddress: 0xfe00_0000, region: "a name: with colon", offset: 0x1000),
            ])
        #expect(MappedSection(guestAddress: 0, region: "vga.vram", offset: 0).belongs(to: "0000:00:03.0/vga.vram"))
        #expect(!MappedSection(guestAddress: 0, region: "vram", offset: 0).belongs(to: "0000:00:03.0/vga.vram"))
    }

    @Test func theNetworkListingGivesCardsQueuesAndPeers() {
        let listing = NetworkListing(
            parsing: """
                 nic: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56
                  \\ n0: index=0,type=tap,ifname=tap0,script=no,downscript=no
                 nic: index=1,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56
                  \\ n0: index=1,type=tap,ifname=tap0,script=no,downscript=no
                alone: index=0,type=user,net=10.0.2.0,restrict=off
                """)
        #expect(listing.cards == [NetworkCard(name: "nic", model: "virtio-net-pci", macAddress: "52:54:00:12:34:56", backend: "n0")])
        #expect(
            listing.backends.map(\.backend) == [
                NetworkBackend(id: "n0", type: "tap", interface: "tap0", queues: 2), NetworkBackend(id: "alone", type: "user"),
            ])
    }

    /// As QEMU 10 lists a card with two queues and no id, and one card more.
    @Test func theQueuesOfACardWithoutIdAreOneCard() {
        let listing = NetworkListing(
            parsing: """
                virtio-net-pci.1: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:79:00:02
                 \\ net1: index=0,type=tap,ifname=guest1,script=no,downscript=no
                virtio-net-pci.2: index=1,type=nic,model=virtio-net-pci,macaddr=52:54:00:79:00:02
                 \\ net1: index=1,type=tap,ifname=guest1,script=no,downscript=no
                virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:77:00:02
                 \\ net0: index=0,type=tap,ifname=guest0,script=no,downscript=no
                """)
        #expect(listing.cards.map(\.backend) == ["net1", "net0"])
        #expect(listing.backends.map(\.backend.queues) == [2, 1])
    }

    /// Behind the type stands where the socket leads, as QEMU 7.2 and 10 list it.
    @Test func theTypeOfASocketNetworkEndsAtItsAddress() {
        let listing = NetworkListing(
            parsing: """
                virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:77:00:02
                 \\ net0: index=0,type=stream,unix:/run/a=b,c.sock
                e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:77:00:03
                 \\ net1: index=0,type=socket,mcast=230.0.0.1:1234
                """)
        #expect(listing.cards.map(\.backend) == ["net0", "net1"])
        #expect(listing.backends.map(\.backend.type) == ["stream", "socket"])
    }

    @Test func aTapThatCameAsADescriptorIsNamed() {
        let listed = [(backend: NetworkBackend(id: "n0", type: "tap"), properties: ["fd": "25"])]
        let tap = OpenDescriptors(targets: [25: "/dev/net/tun", 26: "/dev/vhost-net"], tunInterfaces: [25: "vnet0", 30: "vnet1"])
        #expect(tap.complete(listed) == [NetworkBackend(id: "n0", type: "tap", interface: "vnet0", isVhost: true)])
        let macvtap = OpenDescriptors(targets: [25: "/dev/tap7"])
        #expect(macvtap.complete(listed)[0].interface == "/dev/tap7")
        let helper = [(backend: NetworkBackend(id: "n0", type: "tap"), properties: ["helper": "/x", "br": "br0"])]
        #expect(OpenDescriptors(tunInterfaces: [9: "tap3"]).complete(helper)[0].interface == "tap3")
        #expect(OpenDescriptors(tunInterfaces: [9: "tap3", 10: "tap4"]).complete(helper)[0].interface == nil)
    }

    @Test func translationsAreRead() {
        let answer = MachineReader.translation(in: "Host virtual address for 0xfffc0000 (pc.bios) is 0x7fc211600000\n")
        #expect(answer?.address == 0x7fc2_1160_0000 && answer?.region == "pc.bios")
        #expect(MachineReader.translation(in: "No memory is mapped at address 0x0") == nil)
        #expect(MachineReader.translation(in: "Memory at address 0x0 is not RAM (x)") == nil)
    }

    @Test func theStartTimeIsReadBehindANameWithBrackets() throws {
        let fields = (3...22).map(String.init).joined(separator: " ")
        #expect(try ProcessDescription.startTime(in: "7 (a b) c) \(fields) 23", id: 7) == 22)
        #expect(throws: HypervisorError.self) { try ProcessDescription.startTime(in: "nonsense", id: 7) }
    }
}
