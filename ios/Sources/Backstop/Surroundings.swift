// What the SDK asks of the phone, as values: the device's own in an app, a test's own in a test.

import BackstopBindings
import BackstopSupport
import Foundation

package struct Surroundings: Sendable {
    /// Opens the library.
    package var open: @Sendable (ClientConfig) throws -> Client
    /// Where the SDK's storage lies; `nil` = memory, gone with the process.
    package var directory: URL?
    /// The container shared with the extension; `nil` = it does not open.
    package var appGroup: AppGroup?
    package var credentials: any CredentialStore
    /// Whether the extension can read them there.
    package var credentialsAreShared = true
    package var bundleId: String?
    /// The push environment that the app was signed for.
    package var environment: ProvisioningProfile.APSEnvironment?
    /// Whether the app carries a notification service extension.
    package var extensionPresent: Bool?
    /// Whether the customer sees notifications; `nil` = nobody can tell.
    package var permission: @Sendable () async -> AlertPermission?
    /// Ends early, with an error, when its task is cancelled.
    package var sleep: @Sendable (TimeInterval) async throws -> Void
    /// Tells the session when the app comes to the front and leaves it. What it returns is kept as long as the session.
    package var watchLifecycle: @Sendable (Session) -> AnyObject?
    /// Asks the system for time in the background after that many seconds.
    package var planBackground: @Sendable (TimeInterval) -> Void
    /// What is wrong with how the app was built, each in a sentence.
    package var problems: [String] = []
    /// The system's log.
    package var log: @Sendable (Backstop.LogLevel, String) -> Void

    /// Surroundings without a phone: no permission, no lifecycle, no keychain.
    package init(directory: URL?) {
        self.directory = directory
        open = { @Sendable config in try Client.open(config: config) }
        credentials = MemoryCredentials()
        permission = { @Sendable in nil }
        sleep = { @Sendable seconds in try await Task.sleep(nanoseconds: UInt64(max(0, seconds) * 1_000_000_000)) }
        watchLifecycle = { @Sendable _ in nil }
        planBackground = { @Sendable _ in }
        log = SystemLog.write
    }
}

#if !canImport(UIKit)
extension Surroundings {
    /// Where there is no phone, the storage lies where the system keeps an app's own files.
    static func device(_ config: BackstopConfig) -> Surroundings {
        Surroundings(directory: storageDirectory)
    }
}
#endif

extension Surroundings {
    /// The SDK's own directory among the app's files.
    static var storageDirectory: URL? {
        FileManager.default.urls(for: .applicationSupportDirectory, in: .userDomainMask).first?
            .appendingPathComponent("dev.backstop", isDirectory: true)
    }
}
