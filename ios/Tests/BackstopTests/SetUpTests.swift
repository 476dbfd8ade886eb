// Initialising, registering, logging in and out, switching off: what happens before any push.

import BackstopSupport
import BackstopTesting
import Foundation
import XCTest

@testable import Backstop

final class SetUpTests: BackstopCase {
    private let config = BackstopConfig(baseUrl: "https://backstop.invalid", appKey: "app_test")

    /// The same set-up again is nothing; another one is an error in the log, and the first stays.
    func testInitialiseTwice() async throws {
        let logs = LogLines()
        var config = config
        config.logSink = logs.sink
        let first = try FakeNetwork(), second = try FakeNetwork()
        await BackstopTesting.start(config, in: surroundings(first))
        let installId = try await Backstop.status().installId
        await BackstopTesting.start(config, in: surroundings(second))
        XCTAssertEqual(logs.at(.error), [])
        config.appKey = "app_other"
        await BackstopTesting.start(config, in: surroundings(second))
        XCTAssertEqual(
            logs.at(.error),
            ["`Backstop.initialize` was called again with another set-up: the first one stays"])
        try await Backstop.setPushToken(Data([1]))
        let found = try await Backstop.status().installId
        XCTAssertEqual(found, installId)
        XCTAssertEqual(try second.requests, [])
        XCTAssertEqual(try first.acks.count, 0)
        XCTAssertEqual(try first.requests.map(\.path), ["/v1/devices"])
    }

    /// Every call names the field and what is wrong with it; a set-up that works takes its place.
    func testBadConfig() async throws {
        let network = try FakeNetwork()
        let logs = LogLines()
        var bad: [(String, BackstopConfig)] = []
        for baseUrl in ["", "nonsense", "ftp://x", "http://push.example.com"] {
            bad.append(("baseUrl", BackstopConfig(baseUrl: baseUrl, appKey: "app_test")))
        }
        bad.append(("appKey", BackstopConfig(baseUrl: "https://backstop.invalid", appKey: "")))
        let certificate = Data("no certificate".utf8)
        bad.append((
            "extraRootCertificates",
            BackstopConfig(
                baseUrl: "https://backstop.invalid", appKey: "app_test", extraRootCertificates: [certificate])
        ))
        for (field, config) in bad {
            var config = config
            config.logSink = logs.sink
            // The library's own network: it is what reads certificates.
            await BackstopTesting.start(config, in: BackstopTesting.surroundings(alerts: nil, directory: nil))
            do {
                XCTFail("\(field): \(try await Backstop.status())")
            } catch BackstopError.invalid(let name, let message) {
                XCTAssertEqual(name, field)
                XCTAssert(message.hasPrefix("configuration: `\(field)` "), message)
                XCTAssertEqual(logs.at(.error).last, "`Backstop.initialize`: \(message)")
            }
        }
        await BackstopTesting.start(config, in: surroundings(network))
        let enabled = try await Backstop.status().enabled
        XCTAssert(enabled)
    }

    func testCallsBeforeInitialise() async throws {
        let push = try BackstopTesting.simulatePush()
        let calls: [() async throws -> Void] = [
            { try await Backstop.logIn(customerId: "ann", proof: .hash("")) },
            { try await Backstop.logOut() },
            { try await Backstop.setPushToken(Data([1])) },
            { try await Backstop.handlePush(push) },
            { try await Backstop.handleTap(push) },
            { try await Backstop.flush() },
            { _ = try await Backstop.status() },
            { try await Backstop.setEnabled(false) },
            { _ = try await Backstop.selfTest() },
        ]
        for call in calls {
            await XCTAssertThrows(.notInitialized, call)
        }
        XCTAssert(Backstop.handles(push), "what is ours is known before")
        Backstop.noteActivity()
        Backstop.didRegister(deviceToken: Data([1]))
    }

    /// C2, C4: a device registers once, keeps its id under another token, and sends nothing twice.
    func testRegisterAndRefresh() async throws {
        let sandbox = try await makeSandbox()
        let directory = try makeDirectory()
        try await startPhone(on: sandbox, directory: directory)
        let first = try await Backstop.status()
        XCTAssertNotNil(first.deviceId)
        XCTAssertEqual(first.storage, .created)
        XCTAssertEqual(first.customer, .bound)
        try await Backstop.setPushToken(Data(repeating: 2, count: 32))
        await Backstop.close()
        try await BackstopTesting.start(on: sandbox, directory: directory)
        let second = try await Backstop.status()
        XCTAssertEqual(second.storage, .opened)
        XCTAssertEqual(second.deviceId, first.deviceId)
        XCTAssertEqual(second.installId, first.installId)
        let devices = try await sandbox.request("GET", "/v1/customers/ann/devices")
        XCTAssertEqual(devices.components(separatedBy: "\"device_id\"").count - 1, 1, devices)
    }

    /// C2: a token belongs to one customer at a time, and to nobody after a log-out.
    func testLogInLogOutMove() async throws {
        let sandbox = try await makeSandbox()
        try await startPhone(on: sandbox)
        func devices(_ customer: String) async throws -> Int {
            try await sandbox.request("GET", "/v1/customers/\(customer)/devices")
                .components(separatedBy: "\"device_id\"").count - 1
        }
        try await sandbox.putCustomer("bob", phone: "+821098765432", email: "bob@example.com")
        try await Backstop.logIn(customerId: "bob", proof: .hash(try sandbox.customerHash("bob")))
        var counts = [try await devices("ann"), try await devices("bob")]
        XCTAssertEqual(counts, [0, 1])
        try await Backstop.logOut()
        let customer = try await Backstop.status().customer
        XCTAssertEqual(customer, .nobody)
        counts = [try await devices("ann"), try await devices("bob")]
        XCTAssertEqual(counts, [0, 0])
        try await Backstop.logIn(customerId: "bob", proof: .hash(String(repeating: "0", count: 64)))
        let registration = try await Backstop.status().registration
        XCTAssertEqual(registration, .refused(code: "identity_required"))
    }

    /// C2: off leaves nothing on the device, survives a restart, and on again registers anew.
    func testDisabledDeletesEverything() async throws {
        let directory = try makeDirectory()
        let group = AppGroup(container: try makeDirectory())
        let credentials = MemoryCredentials()
        let network = try FakeNetwork()
        func start() async {
            var surroundings = surroundings(network, directory: directory)
            surroundings.appGroup = group
            surroundings.credentials = credentials
            await BackstopTesting.start(config, in: surroundings)
        }
        await start()
        try await Backstop.setPushToken(Data([1]))
        XCTAssertNotNil(credentials.read())
        XCTAssertNotNil(ExtensionSettings.read(from: group))
        let installId = try await Backstop.status().installId

        try await Backstop.setEnabled(false)
        XCTAssertNil(credentials.read())
        let left = try FileManager.default.subpathsOfDirectory(atPath: group.container.path)
        XCTAssertEqual(left.sorted(), ["backstop", "backstop/switched-off"])
        XCTAssert(try network.requests.contains { $0.method == "DELETE" && $0.path.hasPrefix("/v1/devices/") })
        await Backstop.close()
        await start()
        let off = try await Backstop.status()
        XCTAssertFalse(off.enabled)
        XCTAssertEqual(off.storage, .off)
        XCTAssertEqual(off.installId, "")
        XCTAssertNil(ExtensionSettings.read(from: group))
        let ack = try await Backstop.handlePush(try BackstopTesting.simulatePush()).ack
        guard case .failed(.disabled) = ack else { return XCTFail("\(String(describing: ack))") }

        try await Backstop.setEnabled(true)
        try await Backstop.setPushToken(Data([1]))
        let on = try await Backstop.status()
        XCTAssert(on.enabled)
        XCTAssertNotEqual(on.installId, installId)
        XCTAssertNotNil(credentials.read())
        XCTAssertNotNil(ExtensionSettings.read(from: group))
    }
}
