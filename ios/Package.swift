// swift-tools-version:5.9
// The iOS packages of Backstop. A release replaces what stands between the two marks below (bindings/README.md).

import PackageDescription

// rust library: begin
#if os(Linux)
// Where the tests run: the library that `cargo build -p backstop-ffi-testing` made, and its generated header.
let rust = Target.target(
    name: "BackstopFFI",
    path: "Generated/BackstopFFI",
    linkerSettings: [.linkedLibrary("backstop_ffi_testing")]
)
#else
// What `backstop-bindgen package ios` made.
let rust = Target.binaryTarget(name: "BackstopFFI", path: "Generated/BackstopFFI.xcframework")
#endif
// rust library: end


let package = Package(
    name: "Backstop",
    defaultLocalization: "en",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [
        .library(name: "Backstop", targets: ["Backstop"]),
        .library(name: "BackstopNotificationService", targets: ["BackstopNotificationService"]),
        .library(name: "BackstopTesting", targets: ["BackstopTesting"]),
    ],
    targets: [
        rust,
        // Generated from the Rust library; internal to the three products.
        .target(
            name: "BackstopBindings",
            dependencies: ["BackstopFFI"],
            path: "Generated/BackstopBindings",
            linkerSettings: [
                .linkedFramework("CoreFoundation", .when(platforms: [.iOS, .macOS])),
                .linkedFramework("Security", .when(platforms: [.iOS, .macOS])),
            ]
        ),
        // What only tests call: apart, so that no app carries it.
        .target(
            name: "BackstopTestingBindings",
            dependencies: ["BackstopBindings", "BackstopFFI"],
            path: "Generated/BackstopTestingBindings"
        ),
        // The privacy manifest goes into every executable: the app's and the extension's.
        .target(name: "BackstopSupport", resources: [.copy("Resources/PrivacyInfo.xcprivacy")]),
        .target(name: "Backstop", dependencies: ["BackstopBindings", "BackstopSupport"]),
        .target(name: "BackstopNotificationService", dependencies: ["BackstopBindings", "BackstopSupport"]),
        .target(
            name: "BackstopTesting",
            dependencies: ["Backstop", "BackstopBindings", "BackstopSupport", "BackstopTestingBindings"]
        ),
        // Records acks until a test kills it.
        .executableTarget(
            name: "KilledChild",
            dependencies: ["Backstop", "BackstopTesting"],
            path: "Tests/KilledChild"
        ),
        .testTarget(
            name: "BackstopTests",
            dependencies: ["Backstop", "BackstopNotificationService", "BackstopTesting", "KilledChild"]
        ),
    ]
)
