// What a developer reads: errors, the self-test's findings, logs, and the quick start.

import BackstopBindings
import BackstopSupport
import BackstopTesting
import Foundation
import XCTest

@testable import Backstop

final class WordsTests: BackstopCase {
    /// The exact text of every error, in a string and as `localizedDescription`.
    func testErrorTexts() async throws {
        let network = try FakeNetwork()
        await XCTAssertText("call `Backstop.initialize` first, when the app finishes launching") {
            try await Backstop.flush()
        }
        await BackstopTesting.start(on: network)
        await XCTAssertText("argument: `customerId` is empty") {
            try await Backstop.logIn(customerId: "", proof: .hash("a"))
        }
        await XCTAssertText("argument: `proof` is too long") {
            try await Backstop.logIn(customerId: "ann", proof: .hash(String(repeating: "0", count: 1_000)))
        }
        try network.behave(.panic)
        await XCTAssertText(
            "a defect of the SDK: please report it; the SDK goes on working (a panic that a test asked for)"
        ) {
            try await Backstop.setPushToken(Data([1]))
        }
        try network.behave(.work)
        try await Backstop.setEnabled(false)
        await XCTAssertText("the SDK is switched off: switch it on again first") {
            try await Backstop.logIn(customerId: "ann", proof: .hash("a"))
        }
        await Backstop.close()
        let file = try makeDirectory().appendingPathComponent("file")
        try Data().write(to: file)
        await BackstopTesting.start(on: network, directory: file.appendingPathComponent("below"))
        await XCTAssertText("storage: not a directory") { try await Backstop.status() }
        await Backstop.close()
        await BackstopTesting.start(BackstopConfig(baseUrl: "x", appKey: "app_1"), in: surroundings(network))
        await XCTAssertText("configuration: `baseUrl` is not a URL") {
            try await Backstop.status()
        }
    }

    /// Those that only the library makes, and how each keeps its fields.
    func testErrorsKeepTheirFields() {
        let errors: [(SdkError, BackstopError)] = [
            (.Invalid(name: "n", explanation: "e"), .invalid(name: "n", message: "e")),
            (.StorageFull(explanation: "e"), .storageFull(message: "e")),
            (.StorageUnusable(explanation: "e"), .storageUnusable(message: "e")),
            (.NotRegistered(explanation: "e"), .notRegistered(message: "e")),
            (.Unreachable(explanation: "e"), .unreachable(message: "e")),
            (.Refused(status: 429, code: "c", explanation: "e"), .refused(status: 429, code: "c", message: "e")),
            (.Disabled(explanation: "e"), .disabled(message: "e")),
            (.Cancelled(explanation: "e"), .cancelled(message: "e")),
        ]
        for (sdk, error) in errors {
            XCTAssertEqual(BackstopError(sdk), error)
            XCTAssertEqual(error.localizedDescription, "e")
        }
    }

    private func XCTAssertText<Value>(
        _ text: String,
        line: UInt = #line,
        _ body: () async throws -> Value
    ) async {
        do {
            XCTFail("no error, but \(try await body())", line: line)
        } catch {
            XCTAssertEqual("\(error)", text, line: line)
            XCTAssertEqual(error.localizedDescription, text, line: line)
        }
    }

    /// A real push through the server and back: everything is well, in words.
    func testSelfTestSpeaks() async throws {
        let sandbox = try await makeSandbox()
        try await sandbox.putCustomer("ann", phone: "+821012345678", email: "ann@example.com")
        var surroundings = BackstopTesting.surroundings(alerts: .allowed, directory: nil)
        surroundings.appGroup = AppGroup(container: try makeDirectory())
        surroundings.extensionPresent = true
        surroundings.environment = .development
        let config = BackstopConfig(baseUrl: try sandbox.baseUrl, appKey: try sandbox.appKey)
        await BackstopTesting.start(config, in: surroundings)
        try await Backstop.setPushToken(Data([1]))
        let ended = Locked(false)
        let test = Task {
            defer { ended.with { $0 = true } }
            return try await Backstop.selfTest(timeout: 20)
        }
        var arrived: [AnyHashable: Any]?
        while arrived == nil, !ended.with({ $0 }) {
            arrived = try await sandbox.outbox("push").first { $0.followupId == nil }?.userInfo
        }
        if var arrived {
            arrived["backstop_extension"] = true
            try await Backstop.handlePush(arrived)
        }
        let found = try await test.value
        XCTAssert(found.passed, "\(found)")
        XCTAssertNotNil(found.pushTook)
        XCTAssertNotNil(found.ackTook)
        let lines = found.description.components(separatedBy: "\n")
        XCTAssertEqual(lines.first, "Backstop self-test: passed")
        XCTAssert(lines.contains("  ok registration: the server knows this device and its token"), "\(found)")
    }

    /// What is missing is named, with what mends it.
    func testSelfTestNamesWhatIsMissing() async throws {
        let cases: [(String, (inout Surroundings) -> Void)] = [
            ("failed permission: the customer does not allow notifications", { $0.permission = { .denied } }),
            ("failed permission: the app has not asked", { $0.permission = { .notAsked } }),
            ("warning permission: notifications are delivered quietly", { $0.permission = { .quiet } }),
            ("failed app_group: the App Group's container does not open", { $0.appGroup = nil }),
            (
                "failed extension: the app carries no notification service extension",
                { $0.extensionPresent = false }
            ),
            ("failed keychain: the device's key is not in", { $0.credentials = LockedKeychain() }),
        ]
        for (line, change) in cases {
            let network = try FakeNetwork()
            var surroundings = surroundings(network)
            surroundings.appGroup = AppGroup(container: try makeDirectory())
            surroundings.extensionPresent = true
            surroundings.environment = .production
            change(&surroundings)
            await BackstopTesting.start(
                BackstopConfig(baseUrl: "https://backstop.invalid", appKey: "app_1", logLevel: .none), in: surroundings)
            try await Backstop.setPushToken(Data([1]))
            let lines = try await Backstop.selfTest(timeout: 0.1).description.components(separatedBy: "\n")
            let said = lines.first { $0.contains(line) }
            XCTAssert(said?.contains(" — ") == true, "\(line) is not in \(lines)")
            await Backstop.close()
        }
    }

    private struct LockedKeychain: CredentialStore {
        func read() throws -> SharedCredentials? { throw KeychainError(status: -25308) }
        func write(_ credentials: SharedCredentials) throws { throw KeychainError(status: -25308) }
        func remove() throws { throw KeychainError(status: -25308) }
    }

    /// Invariant 9: nothing personal and no secret in a log line, a description or an error, whatever happens.
    func testLogsHoldNoSecrets() async throws {
        let logs = LogLines()
        let sandbox = try await makeSandbox()
        try await sandbox.putCustomer("ann-secret", phone: "+821012345678", email: "ann@example.com")
        var config = BackstopConfig(baseUrl: try sandbox.baseUrl, appKey: try sandbox.appKey)
        config.logLevel = .debug
        config.logSink = logs.sink
        let credentials = MemoryCredentials()
        var surroundings = BackstopTesting.surroundings(alerts: .allowed, directory: try makeDirectory())
        surroundings.credentials = credentials
        await BackstopTesting.start(config, in: surroundings)
        let hash = try sandbox.customerHash("ann-secret")
        var said = ["\(try await Backstop.logIn(customerId: "ann-secret", proof: .hash(hash)))"]
        said.append("\(try await Backstop.setPushToken(Data(repeating: 0xab, count: 32)))")
        let (_, userInfo) = try await sandbox.push(to: "ann-secret", "m-1", link: "https://acme.example/secret-link")
        let payload = Backstop.Payload(userInfo)
        said.append("\(payload) \(String(reflecting: payload)) \(Backstop.Proof.hash(hash))")
        said.append("\(try await Backstop.handlePush(userInfo))")
        said.append(String(reflecting: try await Backstop.handlePush(userInfo)))
        said.append("\(try await Backstop.handleTap(userInfo))")
        said.append(String(reflecting: try await Backstop.handleTap(userInfo)))
        said.append("\(try await Backstop.status()) \(try await Backstop.selfTest(timeout: 0.1))")
        try await Backstop.logOut()
        let known = try XCTUnwrap(credentials.read())
        said.append("\(known) \(String(reflecting: known))")
        try await Backstop.setEnabled(false)
        let receipt = try XCTUnwrap((userInfo["backstop"] as? [String: Any])?["receipt"] as? String)
        let secrets = [
            receipt, hash, known.deviceKey, "abababab", "ann-secret", "a secret text", "secret-link", "Agent",
            "+8210", "ann@example.com",
        ]
        for secret in secrets {
            for line in logs.all + said where line.contains(secret) {
                XCTFail("\(secret) is in: \(line)")
            }
        }
    }

    /// The library's lines and the SDK's own come to the host's sink, at its level and not below.
    func testLogsComeToTheSink() async throws {
        let logs = LogLines()
        let group = AppGroup(container: try makeDirectory())
        try FileManager.default.createDirectory(at: group.spool, withIntermediateDirectories: true)
        try Data("no event".utf8).write(to: group.spool.appendingPathComponent("000000000000001-x.ack"))
        var surroundings = surroundings(try FakeNetwork())
        surroundings.appGroup = group
        var config = BackstopConfig(baseUrl: "https://backstop.invalid", appKey: "app_1")
        config.logSink = logs.sink
        await BackstopTesting.start(config, in: surroundings)
        try await until { !logs.all.isEmpty }
        XCTAssertEqual(logs.all, ["an unreadable event in the spool is dropped"])
    }

    /// The README's lines are those below, which run.
    func testQuickStartCompiles() async throws {
        let sandbox = try await makeSandbox()
        let (baseUrl, appKey) = (try sandbox.baseUrl, try sandbox.appKey)
        let hash = try sandbox.customerHash("ann")
        try await sandbox.putCustomer("ann", phone: "+821012345678", email: "ann@example.com")
        let deviceToken = Data([1, 2, 3])
        // An app's own directory, as a fresh installation has it.
        let storage = try XCTUnwrap(Surroundings.storageDirectory)
        try? FileManager.default.removeItem(at: storage)
        // quick start: begin
        Backstop.initialize(BackstopConfig(baseUrl: baseUrl, appKey: appKey))
        try await Backstop.logIn(customerId: "ann", proof: .hash(hash))
        try await Backstop.setPushToken(deviceToken)
        // quick start: end
        let status = try await Backstop.status()
        XCTAssertEqual(status.customer, .bound)
        await Backstop.close()
        try FileManager.default.removeItem(at: storage)
        try assertReadmeShows("quick start", of: "WordsTests.swift")
        try assertReadmeShows("ten lines", of: "PushTests.swift")
    }

    /// The lines between the marks are in the README, together and as they are here.
    private func assertReadmeShows(_ mark: String, of file: String) throws {
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        let readme = tests.deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("README.md")
        let shown = try String(contentsOf: readme, encoding: .utf8)
        let source = try String(contentsOf: tests.appendingPathComponent(file), encoding: .utf8)
        let lines = source.components(separatedBy: "\n")
        let begin = try XCTUnwrap(lines.firstIndex { $0.hasSuffix("  // \(mark): begin") })
        let end = try XCTUnwrap(lines.firstIndex { $0.hasSuffix("  // \(mark): end") })
        let wanted = lines[(begin + 1)..<end].map { $0.trimmingCharacters(in: .whitespaces) }
        XCTAssert(wanted.count > 2 && shown.contains(wanted.joined(separator: "\n")), "\(wanted)")
    }
}
