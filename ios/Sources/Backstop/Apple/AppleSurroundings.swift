// The phone as the SDK sees it: where files and keys lie, what the app was signed for, when it is in front.

#if canImport(UIKit)
import BackstopBindings
import BackstopSupport
import Foundation
import UIKit

extension Surroundings {
    static func device(_ config: BackstopConfig) -> Surroundings {
        let bundle = Bundle.main
        let bundleId = bundle.bundleIdentifier ?? ""
        let groupId = config.appGroup ?? AppGroup.defaultIdentifier(appBundleId: bundleId)
        var surroundings = Surroundings(directory: storageDirectory)
        surroundings.appGroup = AppGroup(identifier: groupId)
        // Without the group's entitlement the keychain would refuse it, too: then the app keeps the key to itself.
        let keychainGroup = config.keychainGroup ?? surroundings.appGroup.map { _ in groupId }
        surroundings.credentials = Keychain(group: keychainGroup)
        surroundings.credentialsAreShared = keychainGroup != nil
        surroundings.bundleId = bundle.bundleIdentifier
        surroundings.environment = environment(of: bundle)
        surroundings.extensionPresent = NotificationExtensions.isPresent(in: bundle.builtInPlugInsURL)
        surroundings.permission = { await AlertPermission.current() }
        surroundings.watchLifecycle = { LifecycleWatcher($0) }
        if let identifier = config.backgroundTaskIdentifier {
            if let plan = BackgroundFlush.register(identifier) {
                surroundings.planBackground = plan
            } else {
                surroundings.problems.append(
                    "`backgroundTaskIdentifier` is not among BGTaskSchedulerPermittedIdentifiers of Info.plist")
            }
        }
        if surroundings.environment == nil {
            surroundings.problems.append(
                "the app is signed without `aps-environment`: add the capability Push Notifications to its target")
        }
        if surroundings.appGroup == nil {
            surroundings.problems.append(
                "the app group `\(groupId)` does not open: add it to the entitlements of the app and of the extension,"
                    + " or name yours as `appGroup`")
        }
        return surroundings
    }

    private static func environment(of bundle: Bundle) -> ProvisioningProfile.APSEnvironment? {
        let profile = bundle.url(forResource: "embedded", withExtension: "mobileprovision")
        #if targetEnvironment(simulator)
        let isSimulator = true
        #else
        let isSimulator = false
        #endif
        return ProvisioningProfile.environment(
            profile: profile.flatMap { try? Data(contentsOf: $0) },
            isSimulator: isSimulator
        )
    }
}

/// Tells the session when windows come to the front and leave it, and buys the time to say so.
private final class LifecycleWatcher {
    private var observers: [NSObjectProtocol] = []
    private let center = NotificationCenter.default

    init(_ session: Session) {
        // Scenes come and go one by one; an app without scenes is one window.
        observe(UIScene.didActivateNotification) { [weak session] in session?.cameToFront($0) }
        observe(UIScene.didEnterBackgroundNotification) { [weak session] in Self.left($0, session) }
        observe(UIScene.didDisconnectNotification) { [weak session] in Self.left($0, session) }
        observe(UIApplication.didBecomeActiveNotification) { [weak session] in session?.cameToFront($0) }
        observe(UIApplication.didEnterBackgroundNotification) { [weak session] in Self.left($0, session) }
        // The app may be in front already when the SDK starts.
        Task { @MainActor [weak session] in
            let application = UIApplication.shared
            if application.applicationState == .active {
                session?.cameToFront(ObjectIdentifier(application))
            }
        }
    }

    deinit {
        observers.forEach(center.removeObserver)
    }

    private func observe(_ name: Notification.Name, _ then: @escaping @Sendable (ObjectIdentifier) -> Void) {
        observers.append(
            center.addObserver(forName: name, object: nil, queue: .main) { notification in
                guard let window = notification.object as AnyObject? else { return }
                then(ObjectIdentifier(window))
            })
    }

    /// The system may suspend the app as soon as the callback returns: the time is asked for within it.
    private static func left(_ window: ObjectIdentifier, _ session: Session?) {
        MainActor.assumeIsolated {
            guard let farewell = session?.leftFront(window) else { return }
            let application = UIApplication.shared
            let time = Locked(UIBackgroundTaskIdentifier.invalid)
            let end = Once<Void> { _ in application.endBackgroundTask(time.with { $0 }) }
            let begun = application.beginBackgroundTask(withName: "dev.backstop.left") {
                farewell.cancel()
                end(())
            }
            time.with { $0 = begun }
            Task { @MainActor in
                await farewell.value
                end(())
            }
        }
    }
}
#endif
