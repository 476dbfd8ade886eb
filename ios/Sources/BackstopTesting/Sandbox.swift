// A workspace of the test's own on `backstop serve --sandbox`: customers, replies, a clock, and what left.

import BackstopTestingBindings
import Foundation

/// Why a sandbox call failed. Let it fail the test.
public struct SandboxError: Error, Equatable, LocalizedError, CustomStringConvertible {
    /// What was asked for, and what came back.
    public let message: String

    public var description: String { message }
    public var errorDescription: String? { message }
}

/// A workspace of the test's own, so that tests run side by side. Its clock stands still until `advance` moves it.
public final class Sandbox: Sendable {
    /// Something that would have left.
    public struct Sent {
        /// `push`, `sms`, `lms`, `email`, …
        public let channel: String
        /// Push token, number or address.
        public let to: String
        /// Whose it is; `nil` for a test push.
        public let followupId: String?
        /// To which device, for a push.
        public let deviceId: String?
        /// For a push: the `userInfo` that arrives in the app.
        public let userInfo: [AnyHashable: Any]?
    }

    /// Where a follow-up stands.
    public struct Followup: Equatable, Sendable {
        /// `awaiting_ack`, `acked`, `fell_back`, …
        public let state: String
        /// `no_ack`, … ; `nil` before the decision.
        public let reason: String?
        /// When an ack came after the decision, RFC 3339.
        public let lateAckAt: String?
    }

    private let sandbox: BackstopTestingBindings.Sandbox

    private init(_ sandbox: BackstopTestingBindings.Sandbox) {
        self.sandbox = sandbox
    }

    /// Makes a workspace on the sandbox at that URL and stops its clock.
    public static func create(_ url: String) async throws -> Sandbox {
        try await readable { Sandbox(try await BackstopTestingBindings.Sandbox.create(url: url)) }
    }

    /// For `BackstopConfig`.
    public var baseUrl: String { get throws { try sandbox.baseUrl() } }
    /// For `BackstopConfig`.
    public var appKey: String { get throws { try sandbox.appKey() } }

    /// What the company's backend would hand to its app for this customer: for `Backstop.Proof.hash`.
    public func customerHash(_ customerId: String) throws -> String {
        try sandbox.customerHash(customerId: customerId)
    }

    /// A customer with a number and an address.
    public func putCustomer(_ customerId: String, phone: String, email: String) async throws {
        try await Self.readable {
            try await self.sandbox.putCustomer(customerId: customerId, phone: phone, email: email)
        }
    }

    /// An agent's reply to a customer who is away. Answers the follow-up's id.
    public func reply(
        to customerId: String,
        messageId: String,
        _ text: String,
        link: String? = nil
    ) async throws -> String {
        try await Self.readable {
            guard let link else {
                return try await self.sandbox.reply(customerId: customerId, messageId: messageId, body: text)
            }
            return try await self.sandbox.replyWithLink(
                customerId: customerId, messageId: messageId, body: text, link: link)
        }
    }

    /// Turns the clock. What falls due on the way is decided and sent before the answer.
    public func advance(by seconds: TimeInterval) async throws {
        try await Self.readable { try await self.sandbox.advance(ms: UInt64(max(0, seconds * 1_000).rounded())) }
    }

    /// Everything that would have left, oldest first; all channels, or one.
    public func outbox(_ channel: String? = nil) async throws -> [Sent] {
        try await Self.readable { try await self.sandbox.outbox(channel: channel) }.map { sent in
            Sent(
                channel: sent.channel,
                to: sent.to,
                followupId: sent.followupId,
                deviceId: sent.deviceId,
                userInfo: try sent.arrives.map(BackstopTesting.userInfo)
            )
        }
    }

    /// Where a follow-up stands.
    public func followup(_ followupId: String) async throws -> Followup {
        let found = try await Self.readable { try await self.sandbox.followup(followupId: followupId) }
        return Followup(state: found.state, reason: found.reason, lateAckAt: found.lateAckAt)
    }

    /// What a provider does from now on (`push`: `accept`, `token_gone`, `reject`, `timeout`, …).
    public func provider(_ channel: String, _ behaviour: String) async throws {
        try await Self.readable { try await self.sandbox.provider(channel: channel, behaviour: behaviour) }
    }

    /// Any other call of the backend's API, as JSON; `body` empty = none.
    public func request(_ method: String, _ path: String, _ body: String = "") async throws -> String {
        try await Self.readable { try await self.sandbox.request(method: method, path: path, body: body) }
    }

    private static func readable<Answer>(_ call: () async throws -> Answer) async throws -> Answer {
        do {
            return try await call()
        } catch TestError.Failed(let explanation) {
            throw SandboxError(message: explanation)
        }
    }
}
