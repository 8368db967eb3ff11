// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]
let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
    .product(name: "NIOSSL", package: "swift-nio-ssl"),
    .product(name: "NIOTLS", package: "swift-nio"),
]
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let adapters: [Target.Dependency] = ["Arbiter", "GuestMemory", "Hypervisor", "Links", "NBD", "OutputRelay", "Packing", "QMP"]

/// The rings of docs/architecture.md: the pure core, the adapters around it, the product.
let package = Package(
    name: "understudy",
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
    ],
    targets: [
        .target(name: "UnderstudyCore", swiftSettings: settings),

        .target(name: "LinuxShim"),
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .target(name: "QMP", dependencies: ["LinuxShim"], swiftSettings: settings),
        .target(name: "Hypervisor", dependencies: ["LinuxShim", "QMP", "UnderstudyCore"], swiftSettings: settings),
        .target(name: "GuestMemory", dependencies: ["LinuxShim", "UnderstudyCore"], swiftSettings: settings),
        .target(name: "OutputRelay", dependencies: ["LinuxShim", "UnderstudyCore"], swiftSettings: settings),
        .target(name: "Links", dependencies: ["COpenSSL", "LinuxShim", "UnderstudyCore"] + nio, swiftSettings: settings),
        .target(name: "NBD", dependencies: ["LinuxShim"], exclude: ["README.md"], swiftSettings: settings),
        .target(name: "Packing", dependencies: ["CLZ4", "CZstd", "UnderstudyCore"], swiftSettings: settings),
        .target(name: "Arbiter", dependencies: ["COpenSSL", "UnderstudyCore"], swiftSettings: settings),
        .target(name: "HostCertificates", dependencies: ["COpenSSL"], swiftSettings: settings),
        .target(name: "Systemd", dependencies: [logging], swiftSettings: settings),
        .executableTarget(
            name: "understudy-inject", linkerSettings: [.unsafeFlags(["-static-stdlib", "-Xlinker", "--as-needed"])]),
        .executableTarget(
            name: "understudy-guard", linkerSettings: [.unsafeFlags(["-static-stdlib", "-Xlinker", "--as-needed"])]),

        .target(name: "HostAPI", swiftSettings: settings),
        .target(
            name: "HostDaemon",
            dependencies: adapters + nio + [
                "HostAPI", "HostCertificates", "LinuxShim", "UnderstudyCore", logging, .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "TOMLKit", package: "TOMLKit"),
            ],
            swiftSettings: settings),
        .target(name: "Demonstration", dependencies: ["HostAPI", "HostCertificates", "LinuxShim"], swiftSettings: settings),
        .target(
            name: "Benchmark", dependencies: ["Demonstration", "HostAPI", "HostDaemon", "Hypervisor", "Packing", "QMP", "UnderstudyCore"],
            swiftSettings: settings),
        .executableTarget(name: "understudyd", dependencies: ["HostDaemon", "Systemd", arguments, logging], swiftSettings: settings),
        .executableTarget(
            name: "understudy", dependencies: ["Benchmark", "HostAPI", "HostCertificates", "Demonstration", arguments],
            swiftSettings: settings),

        .testTarget(name: "UnderstudyCoreTests", dependencies: ["UnderstudyCore"], swiftSettings: settings),
        .testTarget(name: "QMPTests", dependencies: ["LinuxShim", "QMP"], swiftSettings: settings),
        .testTarget(name: "HypervisorTests", dependencies: ["Hypervisor", "LinuxShim", "QMP", "UnderstudyCore"], swiftSettings: settings),
        .testTarget(
            name: "GuestMemoryTests", dependencies: ["GuestMemory", "LinuxShim", "UnderstudyCore", "memory-victim", "understudy-inject"],
            swiftSettings: settings),
        .testTarget(
            name: "OutputRelayTests", dependencies: ["LinuxShim", "OutputRelay", "RelayHolder", "UnderstudyCore"], swiftSettings: settings),
        .target(name: "NBDTestExports", dependencies: ["NBD"], path: "Tests/NBDTestExports", swiftSettings: settings),
        .testTarget(
            name: "NBDTests", dependencies: ["AllocationCounter", "LinuxShim", "NBD", "NBDTestExports", "QMP", "nbd-serve"],
            swiftSettings: settings),
        .testTarget(name: "LinksTests", dependencies: ["Links", "UnderstudyCore"] + nio, swiftSettings: settings),
        .testTarget(name: "PackingTests", dependencies: ["Packing", "UnderstudyCore"], swiftSettings: settings),
        .testTarget(name: "ArbiterTests", dependencies: ["Arbiter", "UnderstudyCore"], swiftSettings: settings),
        .testTarget(name: "HostCertificatesTests", dependencies: ["HostCertificates"], swiftSettings: settings),
        .testTarget(name: "SystemdTests", dependencies: ["Systemd", logging], swiftSettings: settings),
        .testTarget(name: "DemonstrationTests", dependencies: ["Demonstration"], swiftSettings: settings),
        .testTarget(
            name: "HostDaemonTests",
            dependencies: adapters + [
                "HostAPI", "HostCertificates", "HostDaemon", "LinuxShim", "UnderstudyCore", "nbd-serve", "understudy-guard", logging,
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            swiftSettings: settings),
        // Real daemons without guests, and whatever else may speak to their sockets.
        .testTarget(
            name: "UnderstudydTests",
            dependencies: [
                "Demonstration", "HostAPI", "HostDaemon", "Hypervisor", "Links", "QMP", "UnderstudyCore", "understudy", "understudyd",
                "understudy-guard", "understudy-inject",
            ] + nio, swiftSettings: settings),
        .testTarget(
            name: "CommandLineTests",
            dependencies: [
                "Benchmark", "HostAPI", "HostCertificates", "understudy", "understudyd", "understudy-guard", "understudy-inject",
            ],
            swiftSettings: settings),
        // Real guests under real daemons: one after the other, see scripts/run-tests.
        .testTarget(
            name: "SurvivalTests",
            dependencies: adapters + [
                "AllocationCounter", "Benchmark", "Demonstration", "HostAPI", "HostCertificates", "HostDaemon", "LinuxShim",
                "UnderstudyCore", "understudy", "understudyd", "understudy-guard", "understudy-inject",
            ], swiftSettings: settings),
        .target(name: "AllocationCounter", path: "Tests/AllocationCounter"),
        // Children of tests, which are stopped and killed.
        .executableTarget(
            name: "memory-victim", path: "Tests/MemoryVictim",
            linkerSettings: [.unsafeFlags(["-static-stdlib", "-Xlinker", "--as-needed"])]),
        .executableTarget(name: "nbd-serve", dependencies: ["NBD", "NBDTestExports"], path: "Tests/NBDServe", swiftSettings: settings),
        .executableTarget(name: "RelayHolder", dependencies: ["OutputRelay"], path: "Tests/RelayHolder", swiftSettings: settings),
    ]
)
