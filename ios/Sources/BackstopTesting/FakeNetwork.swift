// A network with a server behind it, and a clock, both in a test's hand.

import BackstopTestingBindings
import Foundation

/// A network and a server of the test's own. It takes every registration, and every ack once.
public final class FakeNetwork: Sendable {
    /// What the network does with a request.
    public enum Behaviour: Equatable, Sendable {
        /// The server takes it.
        case work
        /// There is no connection.
        case offline
        /// Nobody ever answers.
        case hang
        /// The server takes it, and its answer gets lost.
        case loseAnswer
        /// The server refuses it with that HTTP status and problem code (`rate_limited`).
        case refuse(status: Int, code: String, retryAfter: TimeInterval? = nil)
        /// A defect of the SDK itself: a panic inside the call.
        case panic
    }

    /// A request that reached the network.
    public struct Request: Equatable, Sendable {
        /// `POST`.
        public let method: String
        /// `/v1/acks`.
        public let path: String
        /// JSON, or empty.
        public let body: String
    }

    /// An ack that the server took.
    public struct Ack: Equatable, Sendable {
        /// Of which push.
        public let receipt: String
        /// `displayed`.
        public let grade: String
        /// Why, for `suppressed`.
        public let detail: String?
    }

    let network: TestNetwork

    /// A network that works.
    public init() throws {
        network = try TestNetwork()
    }

    /// From now on, until told otherwise.
    public func behave(_ behaviour: Behaviour) throws {
        try network.behave(behaviour: NetworkBehaviour(behaviour))
    }

    /// For one request, after those that were told before.
    public func behaveOnce(_ behaviour: Behaviour) throws {
        try network.behaveOnce(behaviour: NetworkBehaviour(behaviour))
    }

    /// Every request that was made, answered or not.
    public var requests: [Request] {
        get throws { try network.requests().map { Request(method: $0.method, path: $0.path, body: $0.body) } }
    }

    /// Every ack that the server took, in order, each once.
    public var acks: [Ack] {
        get throws { try network.acks().map { Ack(receipt: $0.receipt, grade: $0.grade, detail: $0.detail) } }
    }
}

extension NetworkBehaviour {
    init(_ behaviour: FakeNetwork.Behaviour) {
        switch behaviour {
        case .work: self = .work
        case .offline: self = .offline
        case .hang: self = .hang
        case .loseAnswer: self = .loseAnswer
        case .panic: self = .panic
        case .refuse(let status, let code, let retryAfter):
            let retryAfterMs = retryAfter.map { UInt64(max(0, $0 * 1_000).rounded()) }
            self = .refuse(status: UInt16(clamping: status), code: code, retryAfterMs: retryAfterMs)
        }
    }
}

/// The device's clock in a test's hand. The timeouts of calls run in real time all the same.
public final class VirtualClock: Sendable {
    let clock: TestClock

    /// A clock that stands still at that time.
    public init(_ now: Date = Date(timeIntervalSince1970: 1_800_000_000)) throws {
        clock = try TestClock.at(wallMs: Int64((now.timeIntervalSince1970 * 1_000).rounded()))
    }

    /// Lets time pass.
    public func advance(by seconds: TimeInterval) throws {
        try clock.advance(ms: UInt64(max(0, seconds * 1_000).rounded()))
    }

    /// Sets the wall clock, as a customer or a network may; no time passes.
    public func set(_ now: Date) throws {
        try clock.setWall(wallMs: Int64((now.timeIntervalSince1970 * 1_000).rounded()))
    }
}
