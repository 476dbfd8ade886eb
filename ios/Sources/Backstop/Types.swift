// The words of the SDK: what a host app gives and gets.

import Foundation

extension Backstop {
    /// Proof by the company's backend that this is its customer.
    public enum Proof: Sendable {
        /// Lower-case hex HMAC-SHA256 of the customer id under the workspace's secret.
        case hash(String)
        /// A JWT in its compact form.
        case token(String)
    }

    /// What the app did with a push that arrived.
    public enum Seen: Equatable, Sendable {
        /// As the system's settings say now: displayed, or suppressed because alerts are off.
        case bySettings
        /// It is shown.
        case displayed
        /// It arrived, and the app decides later whether it is shown: see `acknowledge`.
        case received
        /// It cannot be seen. `why` is one short word for the server's why-log: `channel_off`.
        case suppressed(why: String)
    }

    /// How far a push got, in rising order of what it tells.
    public enum Grade: Sendable {
        /// Arrived, but the customer cannot see it.
        case suppressed
        /// Arrived in the app.
        case received
        /// Handed to the system for display while its settings allow it.
        case displayed
        /// The customer tapped it.
        case opened
    }

    /// A push as the app shows it. Its description leaves out what the customer reads.
    public struct Push: Equatable, Sendable {
        /// `fu_…`; empty for a test push.
        public let followupId: String
        /// Proves receipt. A secret of this device: never log it.
        public let receipt: String
        /// The company's id of the conversation.
        public let conversationId: String
        /// Who answered.
        public let title: String
        /// What they said.
        public let body: String
        /// Where a tap leads. Follow it through `handleTap`, which checks its scheme and hands it out once.
        public let link: String?
        /// Pushes with the same key replace each other.
        public let collapseKey: String
        /// RFC 3339 UTC: after this a text may have gone out instead.
        public let expiresAt: String
    }

    /// What became of an acknowledgement.
    public enum Ack: Equatable, Sendable {
        /// The server answered. `counted`: it is enough to settle the follow-up, so that no text goes out.
        case confirmed(AckResult, counted: Bool)
        /// It is durable on the device and goes with a later `flush`.
        case stored
        /// It could not be kept. Show the push all the same.
        case failed(BackstopError)
    }

    /// What the server says of one ack.
    public enum AckResult: Equatable, Sendable {
        /// Recorded before a fallback was decided.
        case accepted
        /// Recorded after it.
        case late
        /// The same or a higher grade was recorded before.
        case duplicate
        /// Everything else.
        case refused
        /// A word of a newer server; final as well.
        case unknown
    }

    /// What became of a payload that arrived.
    public enum PushResult: Equatable, Sendable {
        /// It is the host app's own, or another SDK's.
        case notOurs
        /// What to show, and what became of its acknowledgement.
        case ours(Push, ack: Ack)
    }

    /// What a tap leads to.
    public enum TapResult: Equatable, Sendable {
        /// It is the host app's own, or another SDK's.
        case notOurs
        /// `link`: once for each push, and only if its scheme is among `BackstopConfig.linkSchemes`.
        case ours(Push, link: URL?, ack: Ack)
    }

    /// Where the registration stands.
    public enum Registration: Equatable, Sendable {
        /// The app has given no push token.
        case noToken
        /// What the app gave last has not reached the server.
        case pending
        /// The server knows what the app gave last.
        case confirmed(at: Date)
        /// The server refuses it; `identity_required` asks for a fresh proof.
        case refused(code: String)
    }

    /// Who is logged in.
    public enum Customer: Equatable, Sendable {
        /// Nobody, or the log-out is not confirmed yet.
        case nobody
        /// A log-in that the server has not confirmed.
        case claimed
        /// The server knows it.
        case bound
    }

    /// Whether the system shows the app's notifications.
    public enum Alerts: Equatable, Sendable {
        /// Shown in full.
        case allowed
        /// Delivered without sound or banner.
        case quiet
        /// The customer said no.
        case denied
        /// The app has not asked yet.
        case notAsked
    }

    /// How the SDK's storage was found.
    public enum Storage: Equatable, Sendable {
        /// There was none; it was made.
        case created
        /// It was there.
        case opened
        /// It was there in an older form.
        case upgraded
        /// It was damaged and lies beside the new one; give token and customer again.
        case replaced
        /// The SDK is switched off: there is none.
        case off
    }

    /// What a call got done, and when the SDK comes back to the rest by itself.
    public struct Flush: Equatable, Sendable {
        /// Acks that the server answered since the call began.
        public let uploaded: Int
        /// Acks that still wait.
        public let pending: Int
        /// Where the registration stands.
        public let registration: Registration
        /// When the SDK tries again, in seconds; `nil` = only when something new happens.
        public let nextFlushIn: TimeInterval?
        /// Why the last request got no final answer, in a sentence.
        public let lastFailure: String?
    }

    /// What is known of this installation, without secrets.
    public struct Status: Equatable, Sendable {
        /// Whether the SDK is switched on.
        public let enabled: Bool
        /// Made once by the SDK; empty when it is switched off.
        public let installId: String
        /// Given by the server.
        public let deviceId: String?
        /// Where the registration stands.
        public let registration: Registration
        /// Who is logged in, as far as the server knows.
        public let customer: Customer
        /// Whether notifications can be seen, as the SDK told the server last.
        public let alerts: Alerts
        /// Acks that still wait.
        public let pending: Int
        /// When the SDK tries again, in seconds.
        public let nextFlushIn: TimeInterval?
        /// Why the last request got no final answer, in a sentence.
        public let lastFailure: String?
        /// How the storage was found.
        public let storage: Storage
    }

    /// How much is logged.
    public enum LogLevel: Int, Comparable, Sendable {
        /// Nothing.
        case none
        /// What lost something or needs a developer.
        case error
        /// What went wrong and mends itself. The default.
        case warn
        /// What happened.
        case info
        /// Everything.
        case debug

        public static func < (left: LogLevel, right: LogLevel) -> Bool { left.rawValue < right.rawValue }
    }

    /// One thing that a self-test looked at.
    public struct Finding: Equatable, Sendable {
        /// How much a finding matters.
        public enum Level: Equatable, Sendable {
            /// As it should be.
            case ok
            /// Works, and could be better.
            case warning
            /// Pushes will not be acknowledged.
            case failed
            /// Could not be found out.
            case unknown
        }

        /// Which: `token`, `registration`, `permission`, `extension`, `test_push`, …
        public let check: String
        /// How much it matters.
        public let level: Level
        /// What was found, in a sentence.
        public let said: String
        /// What mends it, in a sentence.
        public let mend: String?
    }

    /// A self-test's findings.
    public struct SelfTest: Equatable, Sendable {
        /// Everything that was looked at, in the order in which it matters.
        public let findings: [Finding]
        /// From asking the server for a push to its arrival here, in seconds.
        public let pushTook: TimeInterval?
        /// From its arrival to the server's answer to its ack, in seconds.
        public let ackTook: TimeInterval?

        /// Whether pushes are acknowledged: nothing failed, and nothing stayed unknown.
        public var passed: Bool {
            findings.allSatisfy { $0.level == .ok || $0.level == .warning }
        }
    }
}

extension Backstop.Push: CustomStringConvertible, CustomDebugStringConvertible {
    public var description: String { "Push(followupId: \(followupId.isEmpty ? "none" : followupId))" }
    public var debugDescription: String { description }
}

extension Backstop.Proof: CustomStringConvertible, CustomDebugStringConvertible {
    public var description: String {
        switch self {
        case .hash: return "hash(hidden)"
        case .token: return "token(hidden)"
        }
    }
    public var debugDescription: String { description }
}

extension Backstop.TapResult: CustomStringConvertible, CustomDebugStringConvertible {
    public var description: String {
        switch self {
        case .notOurs: return "notOurs"
        case .ours(let push, let link, let ack):
            return "ours(\(push), link: \(link == nil ? "none" : "hidden"), \(ack))"
        }
    }
    public var debugDescription: String { description }
}

extension Backstop.Finding: CustomStringConvertible {
    /// `failed permission: notifications are off — ask for them`.
    public var description: String {
        "\(level) \(check): \(said)" + (mend.map { " — \($0)" } ?? "")
    }
}

extension Backstop.SelfTest: CustomStringConvertible {
    /// One line for each finding, the verdict first.
    public var description: String {
        let bad = findings.filter { $0.level != .ok && $0.level != .warning }.count
        var lines = [bad == 0 ? "Backstop self-test: passed" : "Backstop self-test: \(bad) to mend"]
        lines += findings.map { "  \($0)" }
        if let pushTook {
            lines.append("  the push took \(Self.milliseconds(pushTook)) ms")
        }
        if let ackTook {
            lines.append("  its ack took \(Self.milliseconds(ackTook)) ms")
        }
        return lines.joined(separator: "\n")
    }

    private static func milliseconds(_ seconds: TimeInterval) -> Int { Int((seconds * 1_000).rounded()) }
}
