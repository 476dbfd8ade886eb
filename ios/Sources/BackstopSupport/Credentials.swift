// The device's id and key, which app and notification extension share through the keychain.

import Foundation

/// The key is a secret: descriptions leave it out.
package struct SharedCredentials: Codable, Equatable, Sendable, CustomStringConvertible, CustomDebugStringConvertible {
    package let deviceId: String
    package let deviceKey: String

    package init(deviceId: String, deviceKey: String) {
        self.deviceId = deviceId
        self.deviceKey = deviceKey
    }

    package var description: String { "SharedCredentials(deviceId: \(deviceId), deviceKey: hidden)" }
    package var debugDescription: String { description }
}

/// Where the credentials lie.
package protocol CredentialStore: Sendable {
    /// `nil` = none are there.
    func read() throws -> SharedCredentials?
    func write(_ credentials: SharedCredentials) throws
    func remove() throws
}

/// Why the keychain said no.
package struct KeychainError: Error, Equatable, CustomStringConvertible {
    package let status: Int32

    package init(status: Int32) {
        self.status = status
    }

    package var description: String {
        switch status {
        case -34018:
            return "the keychain refused (-34018): add the app group or keychain group to the target's entitlements"
        case -25308:
            return "the keychain is locked (-25308) until the first unlock after a restart"
        default:
            return "the keychain refused with status \(status)"
        }
    }
}

/// Credentials that end with the process, for tests and where there is no keychain.
package final class MemoryCredentials: CredentialStore {
    private let kept = Locked<SharedCredentials?>(nil)

    package init() {}

    package func read() -> SharedCredentials? { kept.with { $0 } }
    package func write(_ credentials: SharedCredentials) { kept.with { $0 = credentials } }
    package func remove() { kept.with { $0 = nil } }
}
