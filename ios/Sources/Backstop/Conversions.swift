// How each word of the SDK becomes one of the generated ones, or is made of it.

import BackstopBindings
import BackstopSupport
import Foundation

extension BackstopBindings.Proof {
    init(_ proof: Backstop.Proof) {
        switch proof {
        case .hash(let hash): self = .hash(hash: hash)
        case .token(let token): self = .token(token: token)
        }
    }
}

extension BackstopBindings.Grade {
    init(_ grade: Backstop.Grade) {
        switch grade {
        case .suppressed: self = .suppressed
        case .received: self = .received
        case .displayed: self = .displayed
        case .opened: self = .opened
        }
    }
}

extension BackstopBindings.Seen {
    init(_ seen: Backstop.Seen, permission: AlertPermission?) {
        switch seen {
        case .bySettings:
            if let permission {
                self = permission.suppressedBecause.map { .suppressed(why: $0) } ?? .displayed
            } else {
                self = .byAlerts
            }
        case .displayed: self = .displayed
        case .received: self = .received
        case .suppressed(let why): self = .suppressed(why: why)
        }
    }
}

extension BackstopBindings.Alerts {
    init(_ permission: AlertPermission) {
        switch permission {
        case .allowed: self = .allowed
        case .quiet: self = .quiet
        case .denied: self = .denied
        case .notAsked: self = .notAsked
        }
    }
}

extension BackstopBindings.LogLevel {
    init(_ level: Backstop.LogLevel) {
        switch level {
        case .none: self = .none
        case .error: self = .error
        case .warn: self = .warn
        case .info: self = .info
        case .debug: self = .debug
        }
    }
}

extension BackstopBindings.Environment {
    init(_ environment: ProvisioningProfile.APSEnvironment) {
        switch environment {
        case .development: self = .sandbox
        case .production: self = .production
        }
    }
}

extension Backstop.LogLevel {
    init(_ level: BackstopBindings.LogLevel) {
        switch level {
        case .none: self = .none
        case .error: self = .error
        case .warn: self = .warn
        case .info: self = .info
        case .debug: self = .debug
        }
    }
}

extension Backstop.Push {
    init(_ push: BackstopBindings.Push) {
        self.init(
            followupId: push.followupId,
            receipt: push.receipt,
            conversationId: push.conversationId,
            title: push.title,
            body: push.body,
            link: push.link,
            collapseKey: push.collapseKey,
            expiresAt: push.expiresAt
        )
    }
}

extension Backstop.Ack {
    init(_ acked: BackstopBindings.Acked) {
        switch acked {
        case .confirmed(let outcome):
            self = .confirmed(Backstop.AckResult(outcome.result), counted: outcome.counted)
        case .stored:
            self = .stored
        }
    }
}

extension Backstop.AckResult {
    init(_ result: BackstopBindings.AckResult) {
        switch result {
        case .accepted: self = .accepted
        case .late: self = .late
        case .duplicate: self = .duplicate
        case .refused: self = .refused
        case .unknown: self = .unknown
        }
    }
}

extension Backstop.Registration {
    init(_ registration: BackstopBindings.Registration) {
        switch registration {
        case .noToken: self = .noToken
        case .pending: self = .pending
        case .confirmed(let atMs): self = .confirmed(at: Date(timeIntervalSince1970: TimeInterval(atMs) / 1_000))
        case .refused(let code): self = .refused(code: code)
        }
    }
}

extension Backstop.Customer {
    init(_ customer: BackstopBindings.Customer) {
        switch customer {
        case .nobody: self = .nobody
        case .claimed: self = .claimed
        case .bound: self = .bound
        }
    }
}

extension Backstop.Alerts {
    init(_ alerts: BackstopBindings.Alerts) {
        switch alerts {
        case .allowed: self = .allowed
        case .quiet: self = .quiet
        case .denied: self = .denied
        case .notAsked: self = .notAsked
        }
    }
}

extension Backstop.Storage {
    init(_ storage: BackstopBindings.Storage) {
        switch storage {
        case .created: self = .created
        case .opened: self = .opened
        case .upgraded: self = .upgraded
        case .replaced: self = .replaced
        case .off: self = .off
        }
    }
}

extension Backstop.Flush {
    init(_ flushed: BackstopBindings.Flushed) {
        self.init(
            uploaded: Int(flushed.uploaded),
            pending: Int(flushed.pending),
            registration: Backstop.Registration(flushed.registration),
            nextFlushIn: flushed.nextFlushInMs.map(TimeInterval.init(milliseconds:)),
            lastFailure: flushed.lastFailure
        )
    }
}

extension Backstop.Status {
    init(_ status: BackstopBindings.Status) {
        self.init(
            enabled: status.enabled,
            installId: status.installId,
            deviceId: status.deviceId,
            registration: Backstop.Registration(status.registration),
            customer: Backstop.Customer(status.customer),
            alerts: Backstop.Alerts(status.alerts),
            pending: Int(status.pending),
            nextFlushIn: status.nextFlushInMs.map(TimeInterval.init(milliseconds:)),
            lastFailure: status.lastFailure,
            storage: Backstop.Storage(status.storage)
        )
    }
}

extension Backstop.Finding {
    init(_ finding: BackstopBindings.Finding) {
        self.init(
            check: finding.check,
            level: Level(finding.level),
            said: finding.said,
            mend: finding.mend
        )
    }
}

extension Backstop.Finding.Level {
    init(_ level: BackstopBindings.FindingLevel) {
        switch level {
        case .ok: self = .ok
        case .warning: self = .warning
        case .failed: self = .failed
        case .unknown: self = .unknown
        }
    }
}

extension Backstop.SelfTest {
    init(_ test: BackstopBindings.SelfTest) {
        self.init(
            findings: test.findings.map(Backstop.Finding.init),
            pushTook: test.pushTookMs.map(TimeInterval.init(milliseconds:)),
            ackTook: test.ackTookMs.map(TimeInterval.init(milliseconds:))
        )
    }
}

extension TimeInterval {
    init(milliseconds: UInt64) {
        self = TimeInterval(milliseconds) / 1_000
    }

    /// In whole milliseconds for the library; what is no time is none, and nothing overflows.
    var milliseconds: UInt64 {
        guard self > 0 else { return 0 }
        return UInt64(min(self * 1_000, 86_400_000).rounded())
    }
}
