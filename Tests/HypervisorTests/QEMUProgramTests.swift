import Foundation
import Testing
import QMP

@testable import Hypervisor

@Suite struct QEMUProgramTests {
    @Test func `the version line of a distribution's QEMU is read`() throws {
        let version = try #require(QEMUProgram.parse("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c) 2003"))
        #expect(version.description == "7.2.22")
        #expect(version.package == "Debian 1:7.2+dfsg-7+deb12u18")
        #expect(QEMUProgram.parse("QEMU emulator version 10.0.2\n")?.description == "10.0.2")
        for text in ["", "version", "version x.y.z", "QEMU emulator version 7", "bash: no such file"] {
            #expect(QEMUProgram.parse(text) == nil)
        }
    }

    @Test func `a program is found in the path, and one that is none is named`() throws {
        #expect(QEMUProgram.find("sh", path: "/nowhere:/bin") == "/bin/sh")
        #expect(QEMUProgram.find("sh", path: "/nowhere") == nil)
        #expect(QEMUProgram.find("/bin/sh", path: "") == "/bin/sh")
        let log = FileManager.default.temporaryDirectory.path + "/understudy-version-\(UUID().uuidString)"
        #expect {
            _ = try QEMUProgram.version(of: "/bin/true", log: log)
        } throws: { "\($0)".contains("/bin/true --version does not answer like QEMU") }
        #expect(!FileManager.default.fileExists(atPath: log))
    }
}
