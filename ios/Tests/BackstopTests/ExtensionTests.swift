// The notification extension without Apple's classes: recorded first, acknowledged in time, shown exactly once.

import BackstopSupport
import BackstopTesting
import Foundation
import XCTest

@testable import Backstop
@testable import BackstopNotificationService

final class ExtensionTests: BackstopCase {
    private struct Phone {
        let sandbox: Sandbox
        let group: AppGroup
        let credentials = MemoryCredentials()

        var spooled: [String] {
            let files = (try? FileManager.default.contentsOfDirectory(atPath: group.spool.path)) ?? []
            // Others are not finished yet.
            return files.filter { $0.hasSuffix(".ack") }
        }

        func acknowledger(baseUrl: String? = nil) throws -> Acknowledger {
            var settings = try XCTUnwrap(ExtensionSettings.read(from: group))
            settings.baseUrl = baseUrl ?? settings.baseUrl
            return try Acknowledger(
                settings: settings, group: group, credentials: credentials.read(), log: { XCTFail($0) })
        }
    }

    /// A registered app that left its settings and its key for the extension.
    private func makePhone() async throws -> Phone {
        let phone = Phone(sandbox: try await makeSandbox(), group: AppGroup(container: try makeDirectory()))
        let sandbox = phone.sandbox
        try await sandbox.putCustomer("ann", phone: "+821012345678", email: "ann@example.com")
        var surroundings = BackstopTesting.surroundings(alerts: .allowed, directory: nil)
        surroundings.appGroup = phone.group
        surroundings.credentials = phone.credentials
        let config = BackstopConfig(baseUrl: try sandbox.baseUrl, appKey: try sandbox.appKey)
        await BackstopTesting.start(config, in: surroundings)
        try await Backstop.logIn(customerId: "ann", proof: .hash(try sandbox.customerHash("ann")))
        try await Backstop.setPushToken(Data(repeating: 1, count: 32))
        return phone
    }

    /// Runs one push to its end and answers what was shown, in order.
    private func run(
        _ userInfo: [AnyHashable: Any],
        _ acknowledger: Acknowledger?,
        permission: AlertPermission? = .allowed,
        prepare: @escaping (String) async -> String = { "\($0), prepared" }
    ) async throws -> String {
        let receipt = try XCTUnwrap(receipt(in: userInfo))
        let parts = ExtensionRun<String>.Parts(
            permission: { permission }, acknowledger: acknowledger, prepare: prepare)
        return await withCheckedContinuation { continuation in
            // The continuation itself fails the test when it is resumed twice.
            ExtensionRun(content: "content") { continuation.resume(returning: $0) }.start(receipt: receipt, parts)
        }
    }

    /// P2, P7: the extension's ack counts, and nothing is left on disk.
    func testExtensionAcknowledges() async throws {
        let phone = try await makePhone()
        let (followup, userInfo) = try await phone.sandbox.push("m-1")
        let shown = try await run(userInfo, try phone.acknowledger())
        XCTAssertEqual(shown, "content, prepared")
        let found = try await phone.sandbox.followup(followup)
        XCTAssertEqual(found.state, "acked")
        XCTAssertEqual(phone.spooled, [])
    }

    /// P5, P7: settings that hide it suppress it, and the text goes at once.
    func testExtensionReportsWhatIsNotSeen() async throws {
        let phone = try await makePhone()
        let (followup, userInfo) = try await phone.sandbox.push("m-1")
        _ = try await run(userInfo, try phone.acknowledger(), permission: .denied)
        try await phone.sandbox.advance(by: 0)
        let found = try await phone.sandbox.followup(followup)
        XCTAssertEqual(found.state, "fell_back")
    }

    /// C4: without a network the file stays, the push is shown, and the app takes the ack over.
    func testExtensionOfflineLeavesAFileForTheApp() async throws {
        let phone = try await makePhone()
        let (followup, userInfo) = try await phone.sandbox.push("m-1")
        // Nobody listens there.
        let shown = try await run(userInfo, try phone.acknowledger(baseUrl: "http://127.0.0.1:1"))
        XCTAssertEqual(shown, "content, prepared")
        XCTAssertEqual(phone.spooled.count, 1)
        let flush = try await Backstop.flush()
        XCTAssertEqual(flush.uploaded, 1)
        XCTAssertEqual(phone.spooled, [])
        let found = try await phone.sandbox.followup(followup)
        XCTAssertEqual(found.state, "acked")
    }

    /// When time runs out the best there is is shown at once, exactly once; the file is there already.
    func testExtensionTimeExpires() async throws {
        let phone = try await makePhone()
        let (_, userInfo) = try await phone.sandbox.push("m-1")
        let receipt = try XCTUnwrap(receipt(in: userInfo))
        // Takes connections and never answers.
        let silent = try SilentServer()
        let acknowledger = try phone.acknowledger(baseUrl: silent.url)
        let shown = Locked<[String]>([])
        let preparing = expectation(description: "preparing"), ended = expectation(description: "ended")
        let run = ExtensionRun(content: "content") { content in shown.with { $0.append(content) } }
        run.start(
            receipt: receipt,
            .init(
                permission: { .allowed },
                acknowledger: acknowledger,
                prepare: { content in
                    while phone.spooled.isEmpty { await Task.yield() }
                    preparing.fulfill()
                    // A download that hangs until it is cancelled.
                    try? await Task.sleep(nanoseconds: 1 << 60)
                    defer { ended.fulfill() }
                    return "\(content), too late"
                }
            ))
        await fulfillment(of: [preparing], timeout: 10)
        run.timeWillExpire()
        XCTAssertEqual(shown.with { $0 }, ["content"])
        await fulfillment(of: [ended], timeout: 10)
        run.timeWillExpire()
        XCTAssertEqual(shown.with { $0 }, ["content"])
        XCTAssertEqual(phone.spooled.count, 1)
    }

    /// A socket that listens, and that nobody looks at.
    private final class SilentServer {
        let url: String
        private let descriptor: Int32

        init() throws {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            self.descriptor = descriptor
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            var size = socklen_t(MemoryLayout<sockaddr_in>.size)
            let bound = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, size) + listen(descriptor, 8) + getsockname(descriptor, $0, &size)
                }
            }
            XCTAssertEqual(bound, 0)
            url = "http://127.0.0.1:\(UInt16(bigEndian: address.sin_port))"
        }

        deinit { close(descriptor) }
    }

    /// An extension that is not set up shows the push as it is.
    func testExtensionWithoutSetUpShowsThePush() async throws {
        let shown = try await run(try BackstopTesting.simulatePush(), nil)
        XCTAssertEqual(shown, "content, prepared")
        XCTAssertNil(receipt(in: ["aps": ["alert": "x"]]))
    }

    /// The settings come from the app, else from Info.plist; what is missing is named.
    func testExtensionSetUp() throws {
        let group = AppGroup(container: try makeDirectory())
        func setUp(_ info: [String: Any]) throws -> SetUp {
            try SetUp(info: info, bundleId: "com.acme.app.notifications") {
                $0 == "group.com.acme.app.backstop" || $0 == "group.acme" ? group : nil
            }
        }
        XCTAssertThrowsError(try setUp([:])) {
            XCTAssert("\($0)".hasPrefix("the app was never started"), "\($0)")
        }
        XCTAssertThrowsError(try setUp(["BackstopAppGroup": "group.other"])) {
            XCTAssert("\($0)".hasPrefix("the app group `group.other` does not open"), "\($0)")
        }
        let info = ["BackstopBaseUrl": "https://a", "BackstopAppKey": "app_1", "BackstopAppGroup": "group.acme"]
        var found = try setUp(info)
        XCTAssertEqual([found.settings.baseUrl, found.keychainGroup], ["https://a", "group.acme"])
        try ExtensionSettings(baseUrl: "https://b", appKey: "app_2", keychainGroup: "TEAM.keys").write(to: group)
        found = try setUp(info)
        XCTAssertEqual([found.settings.baseUrl, found.keychainGroup], ["https://b", "TEAM.keys"])
        // C2: off is off for the extension, too, whatever it was built with.
        try group.switchOff()
        XCTAssertThrowsError(try setUp(info)) {
            XCTAssertEqual("\($0)", "the app switched Backstop off: no push is acknowledged")
        }
        try ExtensionSettings(baseUrl: "https://b", appKey: "app_2", keychainGroup: nil).write(to: group)
        XCTAssertEqual(try setUp(info).settings.baseUrl, "https://b")
        try Data("unreadable".utf8).write(to: group.settingsFile)
        XCTAssertThrowsError(try setUp(info)) {
            XCTAssert("\($0)".contains("before the first unlock"), "\($0)")
        }
    }
}
