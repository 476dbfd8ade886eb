// Stand-in for Apple's UserNotifications, signatures as Apple documents them. For compiling and tests only, never
// shipped. What Apple gives no initializer has one here, for tests.

@_exported import Foundation

public enum UNAuthorizationStatus: Int, Sendable {
    case notDetermined, denied, authorized, provisional, ephemeral
}

public struct UNAuthorizationOptions: OptionSet, Sendable {
    public let rawValue: UInt
    public init(rawValue: UInt) { self.rawValue = rawValue }
    public static let badge = UNAuthorizationOptions(rawValue: 1)
    public static let sound = UNAuthorizationOptions(rawValue: 2)
    public static let alert = UNAuthorizationOptions(rawValue: 4)
}

public enum UNNotificationSetting: Int, Sendable {
    case notSupported, disabled, enabled
}

open class UNNotificationSettings: NSObject, @unchecked Sendable {
    open var authorizationStatus = UNAuthorizationStatus.authorized
    open var alertSetting = UNNotificationSetting.enabled
    open var notificationCenterSetting = UNNotificationSetting.enabled
    open var lockScreenSetting = UNNotificationSetting.enabled
}

open class UNNotificationContent: NSObject, NSCopying, NSMutableCopying, @unchecked Sendable {
    fileprivate var _title = ""
    fileprivate var _userInfo: [AnyHashable: Any] = [:]
    open var title: String { _title }
    open var userInfo: [AnyHashable: Any] { _userInfo }

    open func copy(with zone: NSZone? = nil) -> Any { self }
    open func mutableCopy(with zone: NSZone? = nil) -> Any {
        let copy = UNMutableNotificationContent()
        copy.title = title
        copy.userInfo = userInfo
        return copy
    }
}

open class UNMutableNotificationContent: UNNotificationContent, @unchecked Sendable {
    open override var title: String {
        get { _title }
        set { _title = newValue }
    }
    open override var userInfo: [AnyHashable: Any] {
        get { _userInfo }
        set { _userInfo = newValue }
    }
}

open class UNNotificationRequest: NSObject, @unchecked Sendable {
    public let content: UNNotificationContent
    public init(content: UNNotificationContent) { self.content = content }
}

open class UNNotification: NSObject, @unchecked Sendable {
    public let request: UNNotificationRequest
    public init(request: UNNotificationRequest) { self.request = request }
}

public let UNNotificationDefaultActionIdentifier = "com.apple.UNNotificationDefaultActionIdentifier"
public let UNNotificationDismissActionIdentifier = "com.apple.UNNotificationDismissActionIdentifier"

open class UNNotificationResponse: NSObject, @unchecked Sendable {
    public let notification: UNNotification
    public let actionIdentifier: String
    public init(notification: UNNotification, actionIdentifier: String) {
        self.notification = notification
        self.actionIdentifier = actionIdentifier
    }
}

public struct UNNotificationPresentationOptions: OptionSet, Sendable {
    public let rawValue: UInt
    public init(rawValue: UInt) { self.rawValue = rawValue }
    public static let badge = UNNotificationPresentationOptions(rawValue: 1)
    public static let sound = UNNotificationPresentationOptions(rawValue: 2)
    public static let list = UNNotificationPresentationOptions(rawValue: 8)
    public static let banner = UNNotificationPresentationOptions(rawValue: 16)
}

/// Apple's methods are optional, which Swift knows with Objective-C only: here each has a default that does nothing,
/// and a call by optional chaining finds `userNotificationCenter`, which is there if the delegate says so.
public protocol UNUserNotificationCenterDelegate: AnyObject {
    func userNotificationCenter(
        _ center: UNUserNotificationCenter,
        willPresent notification: UNNotification,
        withCompletionHandler completionHandler: @escaping (UNNotificationPresentationOptions) -> Void
    )
    func userNotificationCenter(
        _ center: UNUserNotificationCenter,
        didReceive response: UNNotificationResponse,
        withCompletionHandler completionHandler: @escaping () -> Void
    )
    func userNotificationCenter(_ center: UNUserNotificationCenter, openSettingsFor notification: UNNotification?)
    var userNotificationCenter: StubOptionalMethods? { get }
}

public struct StubOptionalMethods {
    public let delegate: UNUserNotificationCenterDelegate
    public init(_ delegate: UNUserNotificationCenterDelegate) { self.delegate = delegate }

    public func callAsFunction(
        _ center: UNUserNotificationCenter,
        willPresent notification: UNNotification,
        withCompletionHandler completionHandler: @escaping (UNNotificationPresentationOptions) -> Void
    ) {
        delegate.userNotificationCenter(
            center, willPresent: notification, withCompletionHandler: completionHandler)
    }

    public func callAsFunction(
        _ center: UNUserNotificationCenter,
        didReceive response: UNNotificationResponse,
        withCompletionHandler completionHandler: @escaping () -> Void
    ) {
        delegate.userNotificationCenter(center, didReceive: response, withCompletionHandler: completionHandler)
    }

    public func callAsFunction(_ center: UNUserNotificationCenter, openSettingsFor notification: UNNotification?) {
        delegate.userNotificationCenter(center, openSettingsFor: notification)
    }
}

extension UNUserNotificationCenterDelegate {
    public func userNotificationCenter(
        _ center: UNUserNotificationCenter, openSettingsFor notification: UNNotification?
    ) {}
    public var userNotificationCenter: StubOptionalMethods? { StubOptionalMethods(self) }
}

open class UNUserNotificationCenter: NSObject, @unchecked Sendable {
    private static let one = UNUserNotificationCenter()
    open weak var delegate: UNUserNotificationCenterDelegate?
    /// What tests set; `nil` = the system never answers.
    public var settings: UNNotificationSettings? = UNNotificationSettings()

    public class func current() -> UNUserNotificationCenter { one }
    open func requestAuthorization(
        options: UNAuthorizationOptions = [],
        completionHandler: @escaping @Sendable (Bool, Error?) -> Void
    ) {
        completionHandler(true, nil)
    }
    open func getNotificationSettings(completionHandler: @escaping @Sendable (UNNotificationSettings) -> Void) {
        if let settings { completionHandler(settings) }
    }
}

open class UNNotificationServiceExtension: NSObject {
    public override init() {}
    open func didReceive(
        _ request: UNNotificationRequest,
        withContentHandler contentHandler: @escaping (UNNotificationContent) -> Void
    ) {}
    open func serviceExtensionTimeWillExpire() {}
}
