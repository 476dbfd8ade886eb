// What the tests share: the sandbox that the run script started, a phone on it, and logs to look at.

import BackstopSupport
import BackstopTesting
import Foundation
import XCTest

@testable import Backstop

/// Starts each test without a Backstop and ends it without one.
class BackstopCase: XCTestCase {
    private var directories: [URL] = []

    override func tearDown() async throws {
        await Backstop.close()
        for directory in directories {
            try FileManager.default.removeItem(at: directory)
        }
        directories = []
    }

    func makeDirectory() throws -> URL {
        let directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("backstop-\(UUID().uuidString)", isDirectory: true)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        directories.append(directory)
        return directory
    }

    /// What the run script says; a test without it fails.
    func environment(_ name: String) throws -> String {
        try XCTUnwrap(ProcessInfo.processInfo.environment[name], "\(name) is not set: start tests/bindings/swift/run")
    }

    /// Waits for what happens in the background. What never comes fails the test instead of holding it up for ever.
    func until(
        file: StaticString = #filePath,
        line: UInt = #line,
        _ isSo: () async throws -> Bool
    ) async throws {
        struct NeverCame: Error {}
        let limit = Date(timeIntervalSinceNow: 60)
        while try await !isSo() {
            guard Date() < limit else {
                XCTFail("it never came", file: file, line: line)
                throw NeverCame()
            }
            await Task.yield()
        }
    }

    func makeSandbox() async throws -> Sandbox {
        try await Sandbox.create(try environment("BACKSTOP_SANDBOX_URL"))
    }

    /// A registered device on the sandbox, with a customer who has a number and an address.
    func startPhone(
        on sandbox: Sandbox,
        customer: String = "ann",
        token: UInt8 = 1,
        directory: URL? = nil
    ) async throws {
        try await sandbox.putCustomer(customer, phone: "+821012345678", email: "ann@example.com")
        try await BackstopTesting.start(on: sandbox, directory: directory)
        try await Backstop.logIn(customerId: customer, proof: .hash(try sandbox.customerHash(customer)))
        let flush = try await Backstop.setPushToken(Data(repeating: token, count: 32))
        guard case .confirmed = flush.registration else { return XCTFail("\(flush)") }
    }
}

extension Sandbox {
    /// A reply and the push that left for it, as it arrives in the app.
    func push(to customer: String = "ann", _ message: String, link: String? = nil) async throws
        -> (followup: String, userInfo: [AnyHashable: Any])
    {
        let followup = try await reply(to: customer, messageId: message, "a secret text", link: link)
        let sent = try await outbox("push").first { $0.followupId == followup }
        return (followup, try XCTUnwrap(sent?.userInfo, "no push left"))
    }
}

/// Log lines to look at.
final class LogLines: Sendable {
    private let lines = Locked<[(Backstop.LogLevel, String)]>([])

    var sink: @Sendable (Backstop.LogLevel, String) -> Void {
        { [lines] level, message in lines.with { $0.append((level, message)) } }
    }

    func at(_ level: Backstop.LogLevel) -> [String] {
        lines.with { $0.filter { $0.0 == level }.map(\.1) }
    }

    var all: [String] { lines.with { $0.map(\.1) } }
}

/// Surroundings on a network of the test's own, for what `BackstopTesting` does not ask for.
func surroundings(_ network: FakeNetwork, directory: URL? = nil) -> Surroundings {
    var surroundings = BackstopTesting.surroundings(alerts: .allowed, directory: directory)
    surroundings.open = BackstopTesting.opener(network)
    return surroundings
}

func XCTAssertThrows<Value>(
    _ expected: BackstopError,
    file: StaticString = #filePath,
    line: UInt = #line,
    _ body: () async throws -> Value
) async {
    do {
        XCTFail("no error, but \(try await body())", file: file, line: line)
    } catch {
        XCTAssertEqual(error as? BackstopError, expected, file: file, line: line)
    }
}

extension Backstop.PushResult {
    var ack: Backstop.Ack? {
        guard case .ours(_, let ack) = self else { return nil }
        return ack
    }
}

extension Backstop.TapResult {
    var link: URL? {
        guard case .ours(_, let link, _) = self else { return nil }
        return link
    }
}
