// One opened SDK: opens the library when it is first needed, makes each call, and comes back to what is left over.

import BackstopBindings
import BackstopSupport
import Foundation

package final class Session: Sendable {
    let config: BackstopConfig
    let surroundings: Surroundings
    private let opening: Opening
    private let presence = PresenceReporter()
    /// The flush that comes by itself when the backoff is over.
    private let planned = Locked<Task<Void, Never>?>(nil)
    private let lifecycle = Locked<AnyObject?>(nil)
    private let starting = Locked<Task<Void, Never>?>(nil)
    private let isClosed = Locked(false)
    /// What the keychain said last, which is logged once.
    private let keychainProblem = Locked<String?>(nil)
    /// Whether the set-up cannot work.
    private let isRefused = Locked(false)

    init(_ config: BackstopConfig, in surroundings: Surroundings) {
        self.config = config
        self.surroundings = surroundings
        opening = Opening { try Self.open(config, in: surroundings) }
        LogPump.shared.start(level: config.logLevel, sink: config.logSink ?? surroundings.log)
        lifecycle.with { $0 = surroundings.watchLifecycle(self) }
        starting.with {
            $0 = Task {
                surroundings.problems.forEach { self.log(.error, $0) }
                await self.settle()
            }
        }
    }

    /// Whether another set-up takes the place of this one: only if this one cannot work.
    func isReplaced(by other: BackstopConfig) -> Bool {
        !config.isSame(as: other) && isRefused.with { $0 }
    }

    func initializedAgain(with other: BackstopConfig) {
        guard !config.isSame(as: other) else { return }
        log(.error, "`Backstop.initialize` was called again with another set-up: the first one stays")
    }

    func started() async {
        await starting.with { $0 }?.value
    }

    func close() async {
        lifecycle.with { $0 = nil }
        isClosed.with { $0 = true }
        let tasks = [starting, planned].compactMap { $0.with { $0 } }
        tasks.forEach { $0.cancel() }
        for task in tasks {
            await task.value
        }
        await presence.close()
        LogPump.shared.silence()
    }

    func log(_ level: Backstop.LogLevel, _ message: String) {
        LogPump.shared.write(level, message)
    }
}

// The calls of the public API.
extension Session {
    func logIn(customerId: String, proof: Backstop.Proof, timeout: TimeInterval) async throws -> Backstop.Flush {
        try await flushing { client, cancel in
            try await client.identify(
                customerId: customerId, proof: BackstopBindings.Proof(proof), budgetMs: timeout.milliseconds,
                cancel: cancel)
        }
    }

    func logOut(timeout: TimeInterval) async throws -> Backstop.Flush {
        try await flushing { client, cancel in
            try await client.logOut(budgetMs: timeout.milliseconds, cancel: cancel)
        }
    }

    func setPushToken(_ deviceToken: Data, timeout: TimeInterval) async throws -> Backstop.Flush {
        let token = PushToken(
            provider: .apns,
            token: deviceToken.map { String(format: "%02x", $0) }.joined(),
            app: surroundings.bundleId,
            environment: surroundings.environment.map(BackstopBindings.Environment.init)
        )
        let permission = await surroundings.permission()
        return try await flushing { client, cancel in
            let alerts = try permission.map(BackstopBindings.Alerts.init) ?? client.status().alerts
            return try await client.setToken(
                token: token, alerts: alerts, budgetMs: timeout.milliseconds, cancel: cancel)
        }
    }

    func handlePush(
        _ payload: Backstop.Payload,
        seen: Backstop.Seen,
        timeout: TimeInterval
    ) async throws -> Backstop.PushResult {
        guard let json = payload.json, let push = payload.push else { return .notOurs }
        // Answers at once or not at all: the ack must not wait for it.
        let permission = await surroundings.permission()
        let ack = await ack {
            try await self.call { client, cancel in
                try await client.handlePush(
                    payload: json, seen: BackstopBindings.Seen(seen, permission: permission),
                    budgetMs: timeout.milliseconds, cancel: cancel)
            }?.ack
        }
        Task { [weak self] in await self?.refreshAlerts(permission) }
        return .ours(push, ack: ack)
    }

    func handleTap(_ payload: Backstop.Payload) async throws -> Backstop.TapResult {
        guard let json = payload.json, let push = payload.push else { return .notOurs }
        do {
            // A task of its own: one that is cancelled must not use up the link, which comes once.
            let tapped = try await Task {
                try await self.call { client, cancel in
                    try await client.handleTap(
                        payload: json, schemes: self.config.linkSchemes, budgetMs: 0, cancel: cancel)
                }
            }.value
            plan(0)
            let link = tapped?.link.flatMap(Link.url)
            return .ours(push, link: link, ack: tapped?.ack.map(Backstop.Ack.init) ?? .failed(Self.unkept))
        } catch {
            // Nothing that goes wrong with the ack keeps the customer from the chat.
            return .ours(push, link: allowedLink(of: push), ack: .failed(BackstopError(error)))
        }
    }

    func acknowledge(
        _ push: Backstop.Push,
        grade: Backstop.Grade,
        why: String?,
        timeout: TimeInterval
    ) async throws -> Backstop.Ack {
        await ack {
            try await self.call { client, cancel in
                try await client.acknowledge(
                    receipt: push.receipt, grade: BackstopBindings.Grade(grade), why: why,
                    budgetMs: timeout.milliseconds, cancel: cancel)
            }
        }
    }

    /// What became of an ack, and another try later if it only could be kept.
    private func ack(_ acknowledge: () async throws -> BackstopBindings.Acked?) async -> Backstop.Ack {
        do {
            guard let acked = try await acknowledge() else { return .failed(Self.unkept) }
            if acked == .stored {
                plan(try? await status().nextFlushIn)
            }
            return Backstop.Ack(acked)
        } catch {
            return .failed(BackstopError(error))
        }
    }

    /// The link as the library would hand it out: of an allowed scheme, with nothing hidden in it.
    private func allowedLink(of push: Backstop.Push) -> URL? {
        guard let link = push.link, link.utf8.count <= 2_048,
            !link.unicodeScalars.contains(where: { $0.properties.isWhitespace || $0.value < 0x20 }),
            let url = Link.url(link), let scheme = url.scheme,
            config.linkSchemes.contains(where: { $0.caseInsensitiveCompare(scheme) == .orderedSame })
        else { return nil }
        return url
    }

    private static let unkept = BackstopError.storageUnusable(message: "the acknowledgement could not be kept")

    func flush(timeout: TimeInterval) async throws -> Backstop.Flush {
        try await flushing { client, cancel in
            try await client.flush(budgetMs: timeout.milliseconds, cancel: cancel)
        }
    }

    func status() async throws -> Backstop.Status {
        try await call { client, _ in Backstop.Status(try client.status()) }
    }

    func setEnabled(_ enabled: Bool, timeout: TimeInterval) async throws {
        try await call { client, cancel in
            try await client.setEnabled(enabled: enabled, budgetMs: timeout.milliseconds, cancel: cancel)
        }
        await share()
        if enabled {
            await refreshAlerts()
        }
    }

    func selfTest(timeout: TimeInterval) async throws -> Backstop.SelfTest {
        let permission = await surroundings.permission()
        let found = try await call { client, cancel in
            let facts = self.facts(permission: permission, known: try client.credentials())
            return try await client.selfTest(facts: facts, budgetMs: timeout.milliseconds, cancel: cancel)
        }
        return Backstop.SelfTest(found)
    }
}

// What happens by itself.
extension Session {
    /// The app came to the front, or a window of it.
    package func cameToFront(_ window: AnyHashable) {
        let isFirst = presence.came(window, sleep: surroundings.sleep) { [weak self] state in
            await self?.tell(state)
        } atFirst: { [weak self] in
            await self?.settle()
        }
        guard !isFirst else { return }
        // Back from the system's question, perhaps.
        Task { [weak self] in await self?.refreshAlerts() }
    }

    /// A window left the front. The task ends when the server was told, or could not be.
    package func leftFront(_ window: AnyHashable) -> Task<Void, Never> {
        presence.left(window) { [weak self] state in
            await self?.tell(state)
            await self?.planBackground()
        }
    }

    func noteActivity() {
        presence.noteActivity()
    }

    /// Brings everybody up to date: the extension, the server, and what waits.
    func settle() async {
        await share()
        await refreshAlerts()
        do {
            _ = try await flush(timeout: 10)
        } catch let error as BackstopError {
            switch error {
            case .cancelled, .disabled: break
            case .invalid:
                isRefused.with { $0 = true }
                log(.error, "`Backstop.initialize`: \(error.message)")
            default:
                log(.warn, "what waits could not be sent: \(error.message)")
            }
        } catch {}
    }

    /// Tells the server when the customer changed whether notifications are shown.
    private func refreshAlerts() async {
        await refreshAlerts(await surroundings.permission())
    }

    private func refreshAlerts(_ permission: AlertPermission?) async {
        guard let permission else { return }
        let alerts = BackstopBindings.Alerts(permission)
        // What cannot be told now is told with the next registration.
        _ = try? await call { client, cancel in
            if try client.status().enabled, try client.status().alerts != alerts {
                _ = try await client.setAlerts(alerts: alerts, budgetMs: 5_000, cancel: cancel)
            }
        }
    }

    private func tell(_ state: PresenceState) async {
        // Best effort by definition: a heartbeat that is lost is followed by another.
        _ = try? await call { client, cancel in
            try await client.presence(
                state: state, idleMs: self.presence.idleMs, budgetMs: 5_000, cancel: cancel)
        }
    }

    private func planBackground() async {
        let next = try? await status().nextFlushIn
        // The extension may leave acks that the app knows nothing of.
        let soon = surroundings.appGroup == nil ? next : min(next ?? Self.background, Self.background)
        guard let soon else { return }
        surroundings.planBackground(soon)
    }

    /// How long acks may lie in the app group before the app looks, if the system lets it.
    static let background: TimeInterval = 900

    /// Comes back when the backoff is over. A later plan replaces an earlier one.
    private func plan(_ seconds: TimeInterval?) {
        let sleep = surroundings.sleep
        planned.with { planned in
            planned?.cancel()
            planned = nil
            guard let seconds, !isClosed.with({ $0 }) else { return }
            planned = Task { [weak self] in
                if seconds > 0 {
                    guard (try? await sleep(seconds)) != nil else { return }
                }
                _ = try? await self?.flush(timeout: 10)
            }
        }
    }

    /// Leaves for the extension what it needs, or takes it away when the SDK is off.
    private func share() async {
        guard let client = try? await opening.client(), let enabled = try? client.status().enabled else { return }
        do {
            if enabled {
                try shareSettings()
            } else {
                try surroundings.appGroup?.switchOff()
            }
        } catch {
            log(.error, "the app group cannot be written: the extension's acks will wait for the app")
        }
        shareCredentials(of: client)
    }

    private func shareSettings() throws {
        guard let group = surroundings.appGroup else { return }
        let settings = ExtensionSettings(
            baseUrl: config.baseUrl,
            appKey: config.appKey,
            keychainGroup: config.keychainGroup,
            extraRootCertificates: config.extraRootCertificates,
            allowHttp: config.allowHttp
        )
        guard ExtensionSettings.read(from: group) != settings else { return }
        try settings.write(to: group)
    }

    /// One at a time, each with what the library knows then: a slow one must not put an older key over a newer.
    private func shareCredentials(of client: Client) {
        let problem: String? = keychainProblem.with { known in
            do {
                try writeCredentials(of: client)
                known = nil
            } catch {
                let problem = "\(error): the extension's acks will wait for the app"
                guard problem != known else { return nil }
                known = problem
                return problem
            }
            return nil
        }
        if let problem { log(.error, problem) }
    }

    private func writeCredentials(of client: Client) throws {
        let known = try client.credentials().map { SharedCredentials(deviceId: $0.deviceId, deviceKey: $0.deviceKey) }
        guard try surroundings.credentials.read() != known else { return }
        if let known {
            try surroundings.credentials.write(known)
        } else {
            try surroundings.credentials.remove()
        }
    }
}

// How a call is made.
extension Session {
    /// A call that answers what is left to do.
    private func flushing(
        _ body: @escaping @Sendable (Client, Cancel) async throws -> BackstopBindings.Flushed
    ) async throws -> Backstop.Flush {
        let flushed = try await call { client, cancel in
            let flushed = Backstop.Flush(try await body(client, cancel))
            self.shareCredentials(of: client)
            return flushed
        }
        // What this call could not send does not go by calling again at once.
        plan(flushed.nextFlushIn.map { max(1, $0) })
        return flushed
    }

    /// Waits until the library is open. A cancelled task does not reach Rust by itself: the handle does.
    private func call<Answer>(
        _ body: @escaping @Sendable (Client, Cancel) async throws -> Answer
    ) async throws -> Answer {
        var used: Client?
        do {
            let client = try await opening.client()
            used = client
            let cancel = try Cancel()
            return try await withTaskCancellationHandler {
                try await body(client, cancel)
            } onCancel: {
                try? cancel.cancel()
            }
        } catch {
            let error = BackstopError(error)
            switch error {
            case .storageUnusable:
                // Opening again sets a damaged storage aside.
                await opening.again(insteadOf: used)
            case .cancelled, .defect:
                // What was stored before goes all the same.
                plan(1)
            default:
                break
            }
            throw error
        }
    }

    private static func open(_ config: BackstopConfig, in surroundings: Surroundings) throws -> Client {
        if let directory = surroundings.directory {
            // What cannot be made is reported by the library, in its words.
            try? AppGroup.makeDirectory(directory)
        }
        return try surroundings.open(
            ClientConfig(
                baseUrl: config.baseUrl,
                appKey: config.appKey,
                platform: .ios,
                sdk: "ios/\(try sdkVersion())",
                directory: surroundings.directory?.path,
                spoolDirectory: surroundings.appGroup?.spool.path,
                locale: config.locale,
                extraRootCertificates: config.extraRootCertificates,
                allowHttp: config.allowHttp && Build.isDebug
            ))
    }
}

/// The library, opened once. What failed is tried again by the next call.
private actor Opening {
    private let open: @Sendable () throws -> Client
    private var opened: Client?

    init(_ open: @escaping @Sendable () throws -> Client) {
        self.open = open
    }

    func client() throws -> Client {
        if let opened { return opened }
        let client = try open()
        opened = client
        return client
    }

    /// Unless another call did so already.
    func again(insteadOf client: Client?) {
        guard opened === client else { return }
        opened = nil
    }
}

/// How this package was built: with the app that holds it.
enum Build {
    #if DEBUG
    static let isDebug = true
    #else
    static let isDebug = false
    #endif
}
