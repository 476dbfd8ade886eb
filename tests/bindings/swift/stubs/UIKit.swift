// Stand-in for what we use of Apple's UIKit, signatures as Apple documents them. For compiling and tests only, never
// shipped.

@_exported import Foundation

@MainActor
open class UIScene: NSObject {
    public nonisolated static let didActivateNotification = NSNotification.Name("UISceneDidActivate")
    public nonisolated static let didEnterBackgroundNotification = NSNotification.Name("UISceneDidEnterBackground")
    public nonisolated static let didDisconnectNotification = NSNotification.Name("UISceneDidDisconnect")
    public nonisolated override init() {}
}

public struct UIBackgroundTaskIdentifier: Hashable, Sendable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    public static let invalid = UIBackgroundTaskIdentifier(rawValue: 0)
}

@MainActor
open class UIResponder: NSObject {
    public nonisolated required override init() {}
}

@MainActor
open class UIApplication: UIResponder {
    public struct LaunchOptionsKey: Hashable, Sendable {
        public let rawValue: String
        public init(rawValue: String) { self.rawValue = rawValue }
    }

    public enum State: Int, Sendable {
        case active, inactive, background
    }

    public nonisolated static let didBecomeActiveNotification = NSNotification.Name("UIApplicationDidBecomeActive")
    public nonisolated static let didEnterBackgroundNotification =
        NSNotification.Name("UIApplicationDidEnterBackground")

    public static let shared = UIApplication()
    open var applicationState = State.background
    /// What tests look at: background time that was asked for and not given back.
    public var backgroundTime: Set<UIBackgroundTaskIdentifier> = []
    private var last = 0

    open func beginBackgroundTask(
        withName taskName: String?,
        expirationHandler handler: (@MainActor @Sendable () -> Void)? = nil
    ) -> UIBackgroundTaskIdentifier {
        last += 1
        backgroundTime.insert(UIBackgroundTaskIdentifier(rawValue: last))
        return UIBackgroundTaskIdentifier(rawValue: last)
    }

    open func endBackgroundTask(_ identifier: UIBackgroundTaskIdentifier) { backgroundTime.remove(identifier) }
    open func registerForRemoteNotifications() {}
}

/// Apple's methods are optional; the defaults stand for that.
@MainActor
public protocol UIApplicationDelegate: AnyObject {
    init()
    func application(
        _ application: UIApplication,
        didFinishLaunchingWithOptions launchOptions: [UIApplication.LaunchOptionsKey: Any]?
    ) -> Bool
    func application(
        _ application: UIApplication,
        didRegisterForRemoteNotificationsWithDeviceToken deviceToken: Data
    )
}

extension UIApplicationDelegate {
    public static func main() {}
}
