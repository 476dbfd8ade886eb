// The files for Apple's systems, as far as stand-ins for the frameworks carry: callbacks, keychain, windows.

#if canImport(UIKit)
import BackgroundTasks
import BackstopNotificationService
import BackstopSupport
import BackstopTesting
import Foundation
import Security
import UIKit
import UserNotifications
import XCTest

@testable import Backstop

final class AppleTests: BackstopCase {
    override func setUp() async throws {
        StubKeychain.items = [:]
        StubKeychain.failure = nil
        UNUserNotificationCenter.current().settings = UNNotificationSettings()
        UNUserNotificationCenter.current().delegate = nil
    }

    private func notification(_ userInfo: [AnyHashable: Any]) -> UNNotification {
        let content = UNMutableNotificationContent()
        content.userInfo = userInfo
        return UNNotification(request: UNNotificationRequest(content: content))
    }

    private func start(_ network: FakeNetwork) async throws {
        await BackstopTesting.start(on: network)
        try await Backstop.setPushToken(Data([1]))
    }

    func testKeychainKeepsCredentials() throws {
        let keychain = Keychain(group: "group.acme")
        XCTAssertNil(try keychain.read())
        for id in ["dev_1", "dev_2"] {
            let credentials = SharedCredentials(deviceId: id, deviceKey: "key")
            try keychain.write(credentials)
            XCTAssertEqual(try Keychain(group: "group.acme").read(), credentials)
            XCTAssertNil(try Keychain(group: "group.other").read())
        }
        let item = try XCTUnwrap(StubKeychain.items.values.first)
        XCTAssertEqual(
            item[kSecAttrAccessible] as? String, kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly)
        try keychain.remove()
        try keychain.remove()
        XCTAssertNil(try keychain.read())
        StubKeychain.failure = errSecMissingEntitlement
        XCTAssertThrowsError(try keychain.read()) {
            XCTAssert("\($0)".contains("add the app group or keychain group"), "\($0)")
        }
    }

    private final class Host: NSObject, UNUserNotificationCenterDelegate {
        let options: UNNotificationPresentationOptions
        let responses = Locked(0)

        init(_ options: UNNotificationPresentationOptions) { self.options = options }

        func userNotificationCenter(
            _ center: UNUserNotificationCenter,
            willPresent notification: UNNotification,
            withCompletionHandler completionHandler: @escaping (UNNotificationPresentationOptions) -> Void
        ) {
            completionHandler(options)
            // A host that calls twice would end the app.
            completionHandler(options)
        }

        func userNotificationCenter(
            _ center: UNUserNotificationCenter,
            didReceive response: UNNotificationResponse,
            withCompletionHandler completionHandler: @escaping () -> Void
        ) {
            responses.with { $0 += 1 }
            completionHandler()
        }
    }

    /// Asks the delegate that is installed, as the system does.
    private func present(_ userInfo: [AnyHashable: Any]) -> [UNNotificationPresentationOptions] {
        let center = UNUserNotificationCenter.current()
        let answers = Locked<[UNNotificationPresentationOptions]>([])
        center.delegate?.userNotificationCenter(center, willPresent: notification(userInfo)) { options in
            answers.with { $0.append(options) }
        }
        return answers.with { $0 }
    }

    /// P7: the host decides what is shown; what it hides is received and no more.
    func testDelegateForwardsAndAcknowledges() async throws {
        let network = try FakeNetwork()
        try await start(network)
        let center = UNUserNotificationCenter.current()
        await Backstop.installNotificationDelegate { _ in }
        XCTAssertEqual(present(try BackstopTesting.simulatePush(receipt: "r-1")), [[.banner, .list, .sound]])
        XCTAssertEqual(present(["aps": ["alert": "x"]]), [[]])
        let hosts: [(String, UNNotificationPresentationOptions)] = [("r-2", [.list]), ("r-3", [.sound, .badge])]
        for (receipt, options) in hosts {
            let host = Host(options)
            center.delegate = host
            await Backstop.installNotificationDelegate { _ in }
            XCTAssertEqual(present(try BackstopTesting.simulatePush(receipt: receipt)), [options])
        }
        try await until { try network.acks.count == 3 }
        let grades = Dictionary(uniqueKeysWithValues: try network.acks.map { ($0.receipt, $0.grade) })
        XCTAssertEqual(grades, ["r-1": "displayed", "r-2": "displayed", "r-3": "received"])
    }

    /// P14: the link of a tap comes once, the host hears of it, and a dismissal is no tap.
    func testDelegateHandsOutTheLink() async throws {
        let network = try FakeNetwork()
        try await start(network)
        let center = UNUserNotificationCenter.current()
        let host = Host([]), links = Locked<[URL]>([])
        center.delegate = host
        await Backstop.installNotificationDelegate { link in links.with { $0.append(link) } }
        // Installed again it still forwards to the host, not to itself.
        await Backstop.installNotificationDelegate { link in links.with { $0.append(link) } }
        let push = notification(try BackstopTesting.simulatePush(link: "https://acme.example/1"))
        for action in [UNNotificationDismissActionIdentifier, UNNotificationDefaultActionIdentifier] {
            let response = UNNotificationResponse(notification: push, actionIdentifier: action)
            let completions = Locked(0)
            center.delegate?.userNotificationCenter(center, didReceive: response) { completions.with { $0 += 1 } }
            XCTAssertEqual(completions.with { $0 }, 1)
        }
        let button = UNNotificationResponse(notification: push, actionIdentifier: "mute")
        let muted = try await Backstop.didReceive(button)
        XCTAssertNil(muted.link)
        try await until { try network.acks.map(\.grade) == ["opened"] }
        try await until { links.with { !$0.isEmpty } }
        XCTAssertEqual(links.with { $0 }, [URL(string: "https://acme.example/1")])
        XCTAssertEqual(host.responses.with { $0 }, 2)
    }

    /// D3, D4: active while a window is in front, left when the last one goes, with time bought for saying so.
    func testLifecycleTellsPresence() async throws {
        let network = try FakeNetwork()
        var surroundings = surroundings(network)
        let heartbeats = Locked(0)
        surroundings.watchLifecycle = Surroundings.device(config).watchLifecycle
        surroundings.sleep = { seconds in
            guard seconds == PresenceReporter.heartbeat, heartbeats.with({ $0 += 1; return $0 < 3 }) else {
                return try await Task.sleep(nanoseconds: 1 << 60)
            }
        }
        await BackstopTesting.start(config, in: surroundings)
        try await Backstop.setPushToken(Data([1]))
        let scenes = [UIScene(), UIScene()], center = NotificationCenter.default
        func states() throws -> [String] {
            try network.requests.filter { $0.path == "/v1/presence" }.map {
                String($0.body.components(separatedBy: "\"state\":\"").last?.prefix { $0 != "\"" } ?? "")
            }
        }
        await MainActor.run {
            scenes.forEach { center.post(name: UIScene.didActivateNotification, object: $0) }
            center.post(name: UIScene.didEnterBackgroundNotification, object: scenes[0])
        }
        // The first word and two heartbeats, whose clock is ours.
        try await until { try states() == ["active", "active", "active"] }
        await MainActor.run {
            center.post(name: UIScene.didDisconnectNotification, object: scenes[1])
        }
        try await until { try states() == ["active", "active", "active", "left"] }
        try await until { await UIApplication.shared.backgroundTime.isEmpty }
    }

    private var config: BackstopConfig {
        BackstopConfig(baseUrl: "https://backstop.invalid", appKey: "app_1", logLevel: .none)
    }

    /// The extension marks what it had in its hands, shows it once, and leaves others' pushes to its subclass.
    func testServiceShowsEveryPush() async throws {
        final class Service: BackstopNotificationService {
            override func prepare(_ content: UNMutableNotificationContent) async -> UNNotificationContent {
                content.title += "!"
                return content
            }
        }
        let pushes = [try BackstopTesting.simulatePush(), ["aps": ["alert": "x"]]]
        for userInfo in pushes {
            let content = UNMutableNotificationContent()
            content.title = "Ann"
            content.userInfo = userInfo
            let service = Service()
            let shown: UNNotificationContent = await withCheckedContinuation { continuation in
                service.didReceive(UNNotificationRequest(content: content)) { continuation.resume(returning: $0) }
            }
            let isOurs = Backstop.handles(userInfo)
            XCTAssertEqual(shown.title, isOurs ? "Ann!" : "Ann")
            // This one is not set up: the self-test must not take it for one that acknowledges.
            XCTAssertNil(shown.userInfo["backstop_extension"])
            service.serviceExtensionTimeWillExpire()
        }
    }

    /// The settings that do not answer keep nobody waiting.
    func testSettingsThatDoNotAnswer() async throws {
        var permission = await AlertPermission.current()
        XCTAssertEqual(permission, .allowed)
        UNUserNotificationCenter.current().settings?.authorizationStatus = .denied
        permission = await AlertPermission.current()
        XCTAssertEqual(permission, .denied)
        UNUserNotificationCenter.current().settings = nil
        permission = await AlertPermission.current()
        XCTAssertNil(permission)
    }

    /// Without the identifier in Info.plist nothing is registered, since the system would end the app.
    func testBackgroundNeedsItsIdentifier() {
        XCTAssertNil(BackgroundFlush.register("dev.backstop.other", info: [:]))
        XCTAssertNil(BGTaskScheduler.shared.handlers["dev.backstop.other"])
    }

    /// C4: what waits goes when the system grants time, the task is completed once, and asks for more if need be.
    func testBackgroundTaskSendsWhatWaits() async throws {
        let network = try FakeNetwork(), id = "dev.backstop.flush", scheduler = BGTaskScheduler.shared
        try await start(network)
        let info: [String: Any] = ["BGTaskSchedulerPermittedIdentifiers": [id]]
        let plan = try XCTUnwrap(BackgroundFlush.register(id, info: info))
        _ = BackgroundFlush.register(id, info: info)
        let run = try XCTUnwrap(scheduler.handlers[id])
        plan(60)
        let request = try XCTUnwrap(scheduler.submitted.last)
        XCTAssertEqual(request.identifier, id)
        XCTAssertGreaterThan(try XCTUnwrap(request.earliestBeginDate).timeIntervalSinceNow, 50)
        try network.behave(.offline)
        try await Backstop.handlePush(try BackstopTesting.simulatePush(), timeout: 0)
        try network.behave(.work)
        let task = BGTask()
        run(task)
        try await until { !task.completed.isEmpty }
        XCTAssertEqual(task.completed, [true])
        XCTAssertEqual(try network.acks.map(\.receipt), ["receipt-1"])
        XCTAssertEqual(scheduler.submitted.count, 2, "the extension may leave more")

        try network.behave(.hang)
        try await Backstop.handlePush(try BackstopTesting.simulatePush(receipt: "receipt-2"), timeout: 0)
        let expired = BGTask()
        run(expired)
        expired.expirationHandler?()
        try await until { !expired.completed.isEmpty }
        XCTAssertEqual(expired.completed, [false])
    }
}
#endif
