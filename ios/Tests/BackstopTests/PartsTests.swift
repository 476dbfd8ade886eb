// The small parts that need no server: settings, profiles, windows, closures that run once.

import BackstopSupport
import Foundation
import XCTest

@testable import Backstop

final class PartsTests: XCTestCase {
    /// P1: what the system's settings mean for a push.
    func testAlertPermission() {
        typealias Case = (AlertPermission.Authorization, Bool, Bool, Bool, AlertPermission)
        let cases: [Case] = [
            (.notDetermined, true, true, true, .notAsked), (.denied, true, true, true, .denied),
            (.provisional, false, true, false, .quiet), (.authorized, true, false, false, .allowed),
            (.ephemeral, true, true, true, .allowed), (.authorized, false, true, false, .quiet),
            (.authorized, false, false, true, .quiet), (.authorized, false, false, false, .denied),
        ]
        for (authorization, banner, list, lockScreen, expected) in cases {
            let found = AlertPermission(
                authorization: authorization, banner: banner, list: list, lockScreen: lockScreen)
            XCTAssertEqual(found, expected, "\(authorization) \(banner) \(list) \(lockScreen)")
        }
    }

    /// C3: the environment that the app was signed for.
    func testProvisioningProfile() {
        func profile(_ entitlements: String) -> Data {
            let list = """
                <?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict><key>Entitlements</key>
                <dict>\(entitlements)</dict></dict></plist>
                """
            // Signed bytes before and after it, as in a real one.
            return Data([0x30, 0x82, 0x00, 0xff]) + Data(list.utf8) + Data(repeating: 0xfe, count: 64)
        }
        func environment(_ data: Data?, simulator: Bool = false) -> ProvisioningProfile.APSEnvironment? {
            ProvisioningProfile.environment(profile: data, isSimulator: simulator)
        }
        XCTAssertEqual(
            environment(profile("<key>aps-environment</key><string>development</string>")), .development)
        XCTAssertEqual(environment(profile("<key>aps-environment</key><string>production</string>")), .production)
        XCTAssertNil(environment(profile("")))
        XCTAssertNil(environment(profile("<key>aps-environment</key><string>other</string>")))
        XCTAssertNil(environment(Data("<?xml no list".utf8)))
        XCTAssertNil(environment(Data("</plist><?xml".utf8)))
        XCTAssertNil(environment(Data()))
        XCTAssertEqual(environment(nil), .production)
        XCTAssertEqual(environment(nil, simulator: true), .development)
    }

    /// D3, D4: in front while one window is, gone with the last one.
    func testWindows() {
        var windows = Windows()
        XCTAssertTrue(windows.came(1))
        XCTAssertFalse(windows.came(1))
        XCTAssertFalse(windows.came(2))
        XCTAssertFalse(windows.left(1))
        XCTAssertFalse(windows.left(1))
        XCTAssertTrue(windows.left(2))
        XCTAssertFalse(windows.left(2))
        XCTAssertTrue(windows.came(3))
    }

    func testOnce() {
        let calls = Locked<[Int]>([])
        let once = Once<Int> { number in calls.with { $0.append(number) } }
        DispatchQueue.concurrentPerform(iterations: 100) { once($0) }
        XCTAssertEqual(calls.with { $0.count }, 1)
    }

    func testWithinGivesUp() async {
        let late: Int? = await within(0.01) {
            try? await Task.sleep(nanoseconds: 1 << 60)
            return 1
        }
        XCTAssertNil(late)
        let early = await within(60) { 7 }
        XCTAssertEqual(early, 7)
    }

    func testNotificationExtensions() throws {
        let plugIns = FileManager.default.temporaryDirectory
            .appendingPathComponent("plugins-\(UUID().uuidString)", isDirectory: true)
        defer { try? FileManager.default.removeItem(at: plugIns) }
        func add(_ name: String, _ point: String) throws {
            let plugIn = plugIns.appendingPathComponent(name, isDirectory: true)
            try FileManager.default.createDirectory(at: plugIn, withIntermediateDirectories: true)
            let info = ["NSExtension": ["NSExtensionPointIdentifier": point]]
            try PropertyListSerialization.data(fromPropertyList: info, format: .xml, options: 0)
                .write(to: plugIn.appendingPathComponent("Info.plist"))
        }
        XCTAssertFalse(NotificationExtensions.isPresent(in: nil))
        XCTAssertFalse(NotificationExtensions.isPresent(in: plugIns))
        try add("Share.appex", "com.apple.share-services")
        XCTAssertFalse(NotificationExtensions.isPresent(in: plugIns))
        try add("Push.appex", "com.apple.usernotifications.service")
        XCTAssertTrue(NotificationExtensions.isPresent(in: plugIns))
    }

    /// What an app that holds the SDK declares: no tracking, and each kind of data with its use.
    func testPrivacyManifest() throws {
        let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Sources/BackstopSupport/Resources")
        let data = try Data(contentsOf: sources.appendingPathComponent("PrivacyInfo.xcprivacy"))
        let manifest = try XCTUnwrap(
            PropertyListSerialization.propertyList(from: data, format: nil) as? [String: Any])
        XCTAssertEqual(manifest["NSPrivacyTracking"] as? Bool, false)
        let used = try XCTUnwrap(manifest["NSPrivacyAccessedAPITypes"] as? [[String: Any]])
        let reasons = Dictionary(uniqueKeysWithValues: used.map {
            ($0["NSPrivacyAccessedAPIType"] as? String ?? "", $0["NSPrivacyAccessedAPITypeReasons"] as? [String] ?? [])
        })
        // The library's stat and SQLite's statfs, and the clock of the heartbeats.
        XCTAssertEqual(reasons, [
            "NSPrivacyAccessedAPICategoryFileTimestamp": ["C617.1"],
            "NSPrivacyAccessedAPICategoryDiskSpace": ["E174.1"],
            "NSPrivacyAccessedAPICategorySystemBootTime": ["35F9.1"],
        ])
        let collected = try XCTUnwrap(manifest["NSPrivacyCollectedDataTypes"] as? [[String: Any]])
        XCTAssertEqual(collected.count, 3)
        for kind in collected {
            XCTAssertEqual(kind["NSPrivacyCollectedDataTypeTracking"] as? Bool, false)
            XCTAssertEqual(
                kind["NSPrivacyCollectedDataTypePurposes"] as? [String],
                ["NSPrivacyCollectedDataTypePurposeAppFunctionality"])
        }
    }

    /// Foundation refuses other characters than ASCII before iOS 17.
    func testLinksBeyondASCII() {
        XCTAssertEqual(Link.encoded("https://acme.kr/a%20b/\u{C0C1}?x=1#y"), "https://acme.kr/a%20b/%EC%83%81?x=1#y")
        XCTAssertNotNil(Link.url("https://acme.kr/\u{C0C1}\u{B2F4}"))
    }

    func testTimesAreBounded() {
        let times: [(TimeInterval, UInt64)] = [
            (29.999, 29_999), (0, 0), (-1, 0), (.nan, 0), (.infinity, 86_400_000), (1e300, 86_400_000),
        ]
        for (seconds, milliseconds) in times {
            XCTAssertEqual(seconds.milliseconds, milliseconds)
        }
    }
}
