// The SDK as a host app calls it: one per process, each call forwarded to the session that `initialize` started.

import BackstopSupport
import Foundation

/// Acknowledges Backstop's pushes, so that a text goes out only when a push did not arrive.
///
/// Call `initialize` when the app finishes launching; it returns at once. Every other call may come from any task, at
/// any time after it, also before the storage is open. A call ends about its `timeout` at the latest, whatever the
/// network does, and what it could not finish is kept and goes later by itself. Cancelling the task ends the call.
public enum Backstop {
    /// Opens the SDK in the background and registers this device, before anybody logged in. Calling it again with the
    /// same set-up does nothing; with another one it logs an error, and the first stays.
    public static func initialize(_ config: BackstopConfig) {
        start(config, in: Surroundings.device(config))
    }

    /// A customer logged in. Stored, then sent with the registration.
    @discardableResult
    public static func logIn(
        customerId: String,
        proof: Proof,
        timeout: TimeInterval = 10
    ) async throws -> Flush {
        try await current().logIn(customerId: customerId, proof: proof, timeout: timeout)
    }

    /// The customer logged out: their pushes must not reach this device any more. Acks stay valid.
    @discardableResult
    public static func logOut(timeout: TimeInterval = 10) async throws -> Flush {
        try await current().logOut(timeout: timeout)
    }

    /// The system gave a device token. Stored before it is sent; the same one again costs nothing.
    @discardableResult
    public static func setPushToken(_ deviceToken: Data, timeout: TimeInterval = 10) async throws -> Flush {
        try await current().setPushToken(deviceToken, timeout: timeout)
    }

    /// `setPushToken` for the app delegate's method of the same purpose: returns at once, logs what fails.
    public static func didRegister(deviceToken: Data) {
        inBackground("the push token") { try await setPushToken(deviceToken) }
    }

    /// Whether a push is ours. Others are the host app's own business and never touched.
    public static func handles(_ userInfo: [AnyHashable: Any]) -> Bool {
        Payload(userInfo).push != nil
    }

    /// A push arrived: records its ack durably, then sends it. Throws nothing but that `initialize` is missing: trouble
    /// with the ack is in the result, and the push is to be shown all the same.
    @discardableResult
    public static func handlePush(
        _ userInfo: [AnyHashable: Any],
        seen: Seen = .bySettings,
        timeout: TimeInterval = 8
    ) async throws -> PushResult {
        try await handlePush(Payload(userInfo), seen: seen, timeout: timeout)
    }

    /// `handlePush` for what crosses from one task to another.
    @discardableResult
    public static func handlePush(
        _ payload: Payload,
        seen: Seen = .bySettings,
        timeout: TimeInterval = 8
    ) async throws -> PushResult {
        try await current().handlePush(payload, seen: seen, timeout: timeout)
    }

    /// The customer tapped a push, also the one that started the app: records it as opened and hands out its link once,
    /// without waiting for the network. Throws nothing but that `initialize` is missing.
    @discardableResult
    public static func handleTap(_ userInfo: [AnyHashable: Any]) async throws -> TapResult {
        try await handleTap(Payload(userInfo))
    }

    /// `handleTap` for what crosses from one task to another.
    @discardableResult
    public static func handleTap(_ payload: Payload) async throws -> TapResult {
        try await current().handleTap(payload)
    }

    /// A better grade for a push that was handled before: `.displayed` when the app showed it by itself.
    @discardableResult
    public static func acknowledge(
        _ push: Push,
        grade: Grade,
        why: String? = nil,
        timeout: TimeInterval = 8
    ) async throws -> Ack {
        try await current().acknowledge(push, grade: grade, why: why, timeout: timeout)
    }

    /// Sends what waits, and takes over what the notification service extension recorded. The SDK does so by itself at
    /// start, when the app comes to the front, and when its backoff is over.
    @discardableResult
    public static func flush(timeout: TimeInterval = 10) async throws -> Flush {
        try await current().flush(timeout: timeout)
    }

    /// What is known of this installation, without secrets.
    public static func status() async throws -> Status {
        try await current().status()
    }

    /// The customer did something in the app. Cheap; call it from every touch or scroll, or never: an app that calls it
    /// counts as left alone some minutes after the last call, one that does not counts as used while it is in front.
    public static func noteActivity() {
        process.with { $0 }?.noteActivity()
    }

    /// Switches the SDK off or on. Off: the server is asked to forget the device, everything on the device is deleted,
    /// and nothing is kept or sent until it is switched on again. The choice survives restarts.
    public static func setEnabled(_ enabled: Bool, timeout: TimeInterval = 10) async throws {
        try await current().setEnabled(enabled, timeout: timeout)
    }

    /// Asks the server for a real push to this device, waits for it, and says in words what is missing. Call it with
    /// the app in front.
    public static func selfTest(timeout: TimeInterval = 30) async throws -> SelfTest {
        try await current().selfTest(timeout: timeout)
    }

    /// Ends the SDK in this process, for tests: what it stored stays, and `initialize` starts it anew.
    public static func close() async {
        await process.with { session in
            defer { session = nil }
            return session
        }?.close()
    }
}

extension Backstop {
    private static let process = Locked<Session?>(nil)

    /// `initialize` in surroundings of the caller's, which tests make.
    package static func start(_ config: BackstopConfig, in surroundings: @autoclosure () -> Surroundings) {
        let first = process.with { session -> Session? in
            if let session, !session.isReplaced(by: config) { return session }
            session = Session(config, in: surroundings())
            return nil
        }
        // Outside the lock: a host's sink may call us.
        first?.initializedAgain(with: config)
    }

    /// Waits until what `initialize` set off is done.
    package static func started() async {
        await process.with { $0 }?.started()
    }

    static func current() throws -> Session {
        guard let session = process.with({ $0 }) else { throw BackstopError.notInitialized }
        return session
    }

    /// Runs what nobody waits for, and logs how it failed.
    static func inBackground(_ what: String, _ work: @escaping @Sendable () async throws -> Void) {
        Task {
            do {
                try await work()
            } catch {
                logFailure(what, error)
            }
        }
    }

    static func logFailure(_ what: String, _ error: any Error) {
        let line = "\(what): \(BackstopError(error).message)"
        guard let session = process.with({ $0 }) else { return SystemLog.write(.error, line) }
        session.log(.warn, line)
    }
}
