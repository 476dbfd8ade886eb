// Pushes and taps against the real server: what each becomes, and what the customer gets instead.

import BackstopSupport
import BackstopTesting
import Foundation
import XCTest

@testable import Backstop

final class PushTests: BackstopCase {
    /// P2, P8: acknowledged in time, so that no text goes out.
    func testPushAccepted() async throws {
        let sandbox = try await makeSandbox()
        try await startPhone(on: sandbox)
        let (followup, userInfo) = try await sandbox.push("m-1")
        guard case .ours(let push, let ack) = try await Backstop.handlePush(userInfo) else {
            return XCTFail("not ours")
        }
        XCTAssertEqual(push.followupId, followup)
        XCTAssertEqual(push.body, "a secret text")
        XCTAssertEqual(ack, .confirmed(.accepted, counted: true))
        try await sandbox.advance(by: 60)
        let found = try await sandbox.followup(followup)
        XCTAssertEqual(found.state, "acked")
        let channels = try await sandbox.outbox().map(\.channel)
        XCTAssertEqual(channels, ["push"])
    }

    func testPushDuplicate() async throws {
        let sandbox = try await makeSandbox()
        try await startPhone(on: sandbox)
        let (_, userInfo) = try await sandbox.push("m-1")
        try await Backstop.handlePush(userInfo)
        let again = try await Backstop.handlePush(userInfo).ack
        XCTAssertEqual(again, .confirmed(.duplicate, counted: true))
    }

    /// P8: after the decision an ack is late, and the outcome stays.
    func testPushLate() async throws {
        let sandbox = try await makeSandbox()
        try await startPhone(on: sandbox)
        let (followup, userInfo) = try await sandbox.push("m-1")
        try await sandbox.advance(by: 30)
        let ack = try await Backstop.handlePush(userInfo).ack
        XCTAssertEqual(ack, .confirmed(.late, counted: false))
        let found = try await sandbox.followup(followup)
        XCTAssertEqual(found.state, "fell_back")
        XCTAssertNotNil(found.lateAckAt)
    }

    /// P5, P7: a push that nobody sees falls back at once.
    func testPushSuppressed() async throws {
        for (alerts, why) in [(Backstop.Alerts.denied, "alerts_denied"), (.notAsked, "alerts_not_asked")] {
            let sandbox = try await makeSandbox()
            try await startPhone(on: sandbox)
            let (followup, userInfo) = try await sandbox.push("m-1")
            let expected = AlertPermission(alerts).suppressedBecause
            XCTAssertEqual(expected, why)
            let ack = try await Backstop.handlePush(userInfo, seen: .suppressed(why: why)).ack
            XCTAssertEqual(ack, .confirmed(.accepted, counted: false))
            try await sandbox.advance(by: 0)
            let found = try await sandbox.followup(followup)
            XCTAssertEqual(found.state, "fell_back")
            let texts = try await sandbox.outbox("sms").count
            XCTAssertEqual(texts, 1)
            await Backstop.close()
        }
    }

    /// P7: without a word of the app's, the system's settings at that moment decide.
    func testSettingsDecideWhatIsSeen() async throws {
        for (alerts, grade) in [
            (Backstop.Alerts.allowed, "displayed"), (.quiet, "displayed"), (.denied, "suppressed"),
            (.notAsked, "suppressed"),
        ] {
            let network = try FakeNetwork()
            await BackstopTesting.start(on: network, alerts: alerts)
            try await Backstop.setPushToken(Data([1]))
            try await Backstop.handlePush(try BackstopTesting.simulatePush())
            XCTAssertEqual(try network.acks.map(\.grade), [grade])
            XCTAssertEqual(try network.acks.map(\.detail), [AlertPermission(alerts).suppressedBecause])
            await Backstop.close()
        }
    }

    /// P11: a receipt that no push contained proves nothing.
    func testPushRefused() async throws {
        let sandbox = try await makeSandbox()
        try await startPhone(on: sandbox)
        let (followup, userInfo) = try await sandbox.push("m-1")
        var ours = try XCTUnwrap(userInfo["backstop"] as? [String: Any])
        let receipt = try XCTUnwrap(ours["receipt"] as? String)
        ours["receipt"] = String(receipt.reversed())
        let ack = try await Backstop.handlePush(["backstop": ours]).ack
        XCTAssertEqual(ack, .confirmed(.refused, counted: false))
        let found = try await sandbox.followup(followup)
        XCTAssertEqual(found.state, "awaiting_ack")
    }

    /// P3: 29.999 s after the reply nothing has left but the push; at 30 s text and email have.
    func testNoAckFallsBackAt30s() async throws {
        let sandbox = try await makeSandbox()
        try await startPhone(on: sandbox)
        let (followup, _) = try await sandbox.push("m-1")
        try await sandbox.advance(by: 29.999)
        var channels = try await sandbox.outbox().map(\.channel)
        XCTAssertEqual(channels, ["push"])
        try await sandbox.advance(by: 0.001)
        channels = try await sandbox.outbox().map(\.channel).sorted()
        // To Korea a text of more than 90 bytes is an LMS.
        XCTAssertEqual(channels.map { $0 == "lms" ? "sms" : $0 }.sorted(), ["email", "push", "sms"])
        let found = try await sandbox.followup(followup)
        XCTAssertEqual(found.state, "fell_back")
        XCTAssertEqual(found.reason, "no_ack")
    }

    /// As ios/README.md shows it to a host app's developer.
    func testNoAckBecomesATextInTenLines() async throws {
        let sandbox = try await Sandbox.create(try environment("BACKSTOP_SANDBOX_URL"))
        // ten lines: begin
        try await BackstopTesting.start(on: sandbox)
        try await sandbox.putCustomer("ann", phone: "+821012345678", email: "ann@example.com")
        try await Backstop.logIn(customerId: "ann", proof: .hash(try sandbox.customerHash("ann")))
        try await Backstop.setPushToken(Data([1, 2, 3]))
        _ = try await sandbox.reply(to: "ann", messageId: "m-1", "Your order is on its way")
        try await sandbox.advance(by: 30)
        let texts = try await sandbox.outbox("sms")
        XCTAssertEqual(texts.count, 1)
        // ten lines: end
    }

    /// P14: once, of an allowed scheme, also before the library is open, and the tap counts as opened.
    func testTapHandsOutTheLinkOnce() async throws {
        let sandbox = try await makeSandbox()
        let directory = try makeDirectory()
        try await startPhone(on: sandbox, directory: directory)
        let (followup, userInfo) = try await sandbox.push("m-1", link: "https://acme.example/chat/1")
        await Backstop.close()
        // A cold start: the tap comes while the library opens.
        let config = BackstopConfig(baseUrl: try sandbox.baseUrl, appKey: try sandbox.appKey)
        Backstop.start(config, in: BackstopTesting.surroundings(alerts: .allowed, directory: directory))
        let first = try await Backstop.handleTap(userInfo)
        XCTAssertEqual(first.link, URL(string: "https://acme.example/chat/1"))
        let second = try await Backstop.handleTap(userInfo)
        XCTAssertNil(second.link)
        try await Backstop.flush()
        let found = try await sandbox.followup(followup)
        XCTAssertEqual(found.state, "acked")
        for link in ["javascript:alert(1)", "acme://chat", "chat/1"] {
            let push = try BackstopTesting.simulatePush(receipt: "receipt-\(link.count)", link: link)
            let tapped = try await Backstop.handleTap(push)
            XCTAssertNil(tapped.link, link)
        }
    }

    /// P14: a task that is cancelled has not used up the link.
    func testCancelledTapStillHandsOutTheLink() async throws {
        await BackstopTesting.start(on: try FakeNetwork())
        let push = Backstop.Payload(try BackstopTesting.simulatePush(link: "https://acme.example/1"))
        let tap = Task { try await Backstop.handleTap(push) }
        tap.cancel()
        let link = try await tap.value.link
        XCTAssertEqual(link, URL(string: "https://acme.example/1"))
    }

    /// P1: a customer who says yes to the system's question counts as reachable at once.
    func testPermissionIsReadAgain() async throws {
        let network = try FakeNetwork()
        let permission = Locked(AlertPermission.notAsked)
        var surroundings = surroundings(network)
        surroundings.permission = { permission.with { $0 } }
        await BackstopTesting.start(
            BackstopConfig(baseUrl: "https://backstop.invalid", appKey: "app_1"), in: surroundings)
        try await Backstop.setPushToken(Data([1]))
        let session = try Backstop.current()
        session.cameToFront("window")
        func told(_ word: String) throws -> Bool {
            try network.requests.contains { $0.path == "/v1/devices" && $0.body.contains("\"alerts\":\"\(word)\"") }
        }
        XCTAssert(try told("not_asked"))
        // The question was in front of the window, which never left.
        permission.with { $0 = .allowed }
        session.cameToFront("window")
        try await until { try told("allowed") }
        permission.with { $0 = .denied }
        try await Backstop.handlePush(try BackstopTesting.simulatePush())
        try await until { try told("denied") }
    }

    /// P14: a storage that cannot be used does not keep the customer from the chat, nor open what is not allowed.
    func testTapLeadsToTheChatWithoutStorage() async throws {
        let file = try makeDirectory().appendingPathComponent("file")
        try Data().write(to: file)
        await BackstopTesting.start(on: try FakeNetwork(), directory: file.appendingPathComponent("below"))
        for link in ["https://acme.example/1", "HTTPS://acme.example/1"] {
            let tapped = try await Backstop.handleTap(try BackstopTesting.simulatePush(link: link))
            guard case .ours(_, let found, ack: .failed(.storageUnusable)) = tapped else {
                return XCTFail("\(tapped)")
            }
            XCTAssertEqual(found, URL(string: link))
        }
        let long = "https://acme.example/" + String(repeating: "x", count: 2_100)
        for link in ["http://acme.example", "javascript:alert(1)", "https://a\nb", "https://a b", "//a", "", long] {
            let tapped = try await Backstop.handleTap(try BackstopTesting.simulatePush(link: link))
            XCTAssertNil(tapped.link, link)
        }
    }

    /// Others' pushes are never touched, whatever is in them.
    func testPayloadsNotOurs() async throws {
        let network = try FakeNetwork()
        await BackstopTesting.start(on: network)
        try await Backstop.setPushToken(Data([1]))
        let before = try network.requests.count
        var nested: Any = "end"
        for _ in 0..<400 {
            nested = ["backstop": nested]
        }
        let receipt = ["receipt": "r"]
        let others: [[AnyHashable: Any]] = [
            [:], ["aps": ["alert": "hello"]], receipt, ["backstop": 1], ["backstop": "not json"], ["backstop": [1, 2]],
            ["backstop": ["receipt": ""]], ["backstop": ["receipt": 1]], ["backstop": Date()],
            ["backstop": ["receipt": "r", "body": String(repeating: "x", count: 100_000)]], ["backstop": nested],
            ["backstop": Double.nan], [1: 2, "backstop_extension": true],
        ]
        for other in others {
            XCTAssertFalse(Backstop.handles(other))
            let pushed = try await Backstop.handlePush(other)
            XCTAssertEqual(pushed, .notOurs)
            let tapped = try await Backstop.handleTap(other)
            XCTAssertEqual(tapped, .notOurs)
        }
        XCTAssertEqual(try network.requests.count, before)
    }

    /// W5: a push of a version that nobody knows yet is acknowledged.
    func testPayloadOfAnotherVersion() async throws {
        let network = try FakeNetwork()
        await BackstopTesting.start(on: network)
        try await Backstop.setPushToken(Data([1]))
        let newer: [AnyHashable: Any] = [
            "backstop": ["v": 9, "receipt": "receipt-9", "title": ["rich": true], "more": [1]] as [String: Any]
        ]
        XCTAssert(Backstop.handles(newer))
        let ack = try await Backstop.handlePush(newer).ack
        XCTAssertEqual(ack, .confirmed(.accepted, counted: true))
        XCTAssertEqual(try network.acks.map(\.receipt), ["receipt-9"])
    }
}
