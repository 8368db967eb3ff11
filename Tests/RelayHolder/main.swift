// Holds the output gate of the tap named by the first argument until it is killed: the daemon in tests of a daemon's death.
// The second argument says how far it goes: "prepare", "insert" or "adopt".
import Glibc
import OutputRelay

do {
    let tap = CommandLine.arguments[1]
    let relay: OutputRelay
    switch CommandLine.arguments[2] {
    case "prepare":
        relay = try OutputRelay.prepare(tap: tap, identity: "held by a child")
    case "insert":
        relay = try OutputRelay.prepare(tap: tap, identity: "held by a child")
        try relay.insert()
    default:
        relay = try LeftoverRelay.adopt(tap: tap, identity: "adopted by a child")
    }
    print("ready")
    fflush(nil)
    withExtendedLifetime(relay) {
        while true { pause() }
    }
} catch {
    print("failed: \(error)")
    fflush(nil)
    exit(1)
}
