// Backstop in a test of a host app: on a network and a clock of the test's own, or on a sandbox server.

import Backstop
import BackstopBindings
import BackstopSupport
import BackstopTestingBindings
import Foundation

/// Starts the process's Backstop for a test. End each test with `await Backstop.close()`.
///
/// Nothing happens by itself but what the start does: no backoff runs out, no heartbeat is sent.
public enum BackstopTesting {
    /// On a sandbox server's workspace. `directory`: where the SDK keeps its storage; `nil` = memory.
    public static func start(
        on sandbox: Sandbox,
        alerts: Backstop.Alerts = .allowed,
        directory: URL? = nil
    ) async throws {
        let config = BackstopConfig(baseUrl: try sandbox.baseUrl, appKey: try sandbox.appKey)
        await start(config, in: surroundings(alerts: alerts, directory: directory))
    }

    /// On a network of the test's own. Without a clock it has the device's.
    public static func start(
        on network: FakeNetwork,
        clock: VirtualClock? = nil,
        alerts: Backstop.Alerts = .allowed,
        directory: URL? = nil
    ) async {
        let config = BackstopConfig(baseUrl: "https://backstop.invalid", appKey: "app_test")
        var surroundings = surroundings(alerts: alerts, directory: directory)
        surroundings.open = opener(network, clock)
        await start(config, in: surroundings)
    }

    /// A push as it arrives in the app: `userInfo` as the system hands it over.
    public static func simulatePush(
        receipt: String = "receipt-1",
        title: String = "Agent",
        body: String = "Hello",
        link: String? = nil
    ) throws -> [AnyHashable: Any] {
        try userInfo(try simulatedPush(receipt: receipt, title: title, body: body, link: link, apns: true))
    }

    /// Starts it and waits until what it does at start is done.
    package static func start(_ config: BackstopConfig, in surroundings: Surroundings) async {
        Backstop.start(config, in: surroundings)
        await Backstop.started()
    }

    package static func opener(
        _ network: FakeNetwork,
        _ clock: VirtualClock? = nil
    ) -> @Sendable (ClientConfig) throws -> Client {
        { try openForTesting(config: $0, network: network.network, clock: clock?.clock) }
    }

    /// Without time passing by itself.
    package static func surroundings(alerts: Backstop.Alerts?, directory: URL?) -> Surroundings {
        var surroundings = Surroundings(directory: directory)
        let permission = alerts.map(AlertPermission.init)
        surroundings.bundleId = "dev.backstop.test"
        surroundings.permission = { permission }
        // Until it is cancelled; the longest sleep there is would overflow and end at once.
        surroundings.sleep = { _ in try await Task.sleep(nanoseconds: 1 << 60) }
        return surroundings
    }

    static func userInfo(_ json: String) throws -> [AnyHashable: Any] {
        try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any] ?? [:]
    }
}

extension AlertPermission {
    package init(_ alerts: Backstop.Alerts) {
        switch alerts {
        case .allowed: self = .allowed
        case .quiet: self = .quiet
        case .denied: self = .denied
        case .notAsked: self = .notAsked
        }
    }
}
