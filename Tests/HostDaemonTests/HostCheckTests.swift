import HostAPI
import Testing
import UnderstudyCore

@testable import HostDaemon

@Suite struct HostCheckTests {
    private static func ram(_ mebibytes: UInt64) -> [RAMBlock] {
        [RAMBlock(name: "pc.ram", usedLength: mebibytes << 20, totalLength: mebibytes << 20, hostAddress: 0)]
    }

    @Test func `memory for the guest as it is is demanded, memory for its rehearsal at worst is advised`() {
        let need = StandbyMemory(ram: Self.ram(1024), resident: 300 << 20, stagingMebibytes: 256)
        #expect(need.judge(need.atOnce - 1) == .failed)
        #expect(need.judge(need.atOnce) == .warning)
        #expect(need.judge(need.atWorst) == .ok)
        #expect(need.atOnce >= 556 << 20 && need.atOnce < 1024 << 20 && need.atWorst >= 2304 << 20)
        #expect(StandbyMemory.resident(in: "VmPeak:\t 9 kB\nVmRSS:\t  512 kB\nHugetlbPages:\t 2048 kB\n") == 2560 << 10)
    }

    @Test(arguments: [UInt64.max, UInt64.max / 2, 0])
    func `no size that a peer names overflows`(_ length: UInt64) {
        let blocks = Array(repeating: RAMBlock(name: "x", usedLength: length, totalLength: length, hostAddress: 0), count: 3)
        for staging in [Int.max, Int.min, 0] {
            for resident in [length, 0] {
                let need = StandbyMemory(ram: blocks, resident: resident, stagingMebibytes: staging)
                #expect(need.atWorst >= need.atOnce)
                #expect(resident == 0 || need.judge(1 << 44) == .failed)
            }
        }
    }

    @Test func `the kernel's words on memory and processor are read`() {
        #expect(HostCheck.availableMemory(in: "MemTotal: 4 kB\nMemAvailable:    2048 kB\n") == 2 << 20)
        #expect(HostCheck.availableMemory(in: "MemTotal: 4 kB\n") == nil)
        let one = HostCheck.processor(in: "model name\t: A\nflags\t\t: fpu vme\n")
        #expect(one.hasPrefix("A, features "))
        #expect(HostCheck.processor(in: "model name\t: A\nflags\t\t: fpu\n") != one)
        #expect(HostCheck.processor(in: "") == HostCheck.processor(in: "x"))
    }

    @Test func `a report is fit as long as nothing failed`() {
        let lines: [CheckReport.Line] = [.init("a", .ok, "", remedy: "none"), .init("b", .warning, "", remedy: "do")]
        #expect(CheckReport(host: "h", lines: lines).fit)
        #expect(!CheckReport(host: "h", lines: lines + [.init("c", .failed, "")]).fit)
        #expect(lines[0].remedy == nil && lines[1].remedy == "do")
    }
}
