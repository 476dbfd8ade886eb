// Whether a customer can see a notification, from what the system says of its settings.

/// Whether the system shows the app's notifications.
package enum AlertPermission: Equatable, Sendable {
    case allowed
    /// Delivered to the list without sound or banner.
    case quiet
    case denied
    case notAsked

    /// The system's authorization, in the words of `UNAuthorizationStatus`.
    package enum Authorization: Sendable {
        case notDetermined, denied, authorized, provisional, ephemeral
    }

    /// `banner`, `list` and `lockScreen`: the places where the customer lets the app show something.
    package init(authorization: Authorization, banner: Bool, list: Bool, lockScreen: Bool) {
        switch authorization {
        case .notDetermined:
            self = .notAsked
        case .denied:
            self = .denied
        case .provisional:
            self = .quiet
        case .authorized, .ephemeral:
            if banner {
                self = .allowed
            } else {
                self = list || lockScreen ? .quiet : .denied
            }
        }
    }

    /// Why a push that arrived cannot be seen, in the words of the server's why-log; `nil` = it can.
    package var suppressedBecause: String? {
        switch self {
        case .allowed, .quiet: return nil
        case .denied: return "alerts_denied"
        case .notAsked: return "alerts_not_asked"
        }
    }
}

#if canImport(UserNotifications) && canImport(UIKit)
import UserNotifications

extension AlertPermission {
    /// What the system says now; `nil` = it does not answer at once.
    package static func current() async -> AlertPermission? {
        await within(0.5) {
            await withCheckedContinuation { continuation in
                UNUserNotificationCenter.current().getNotificationSettings { settings in
                    continuation.resume(returning: AlertPermission(settings))
                }
            }
        }
    }

    package init(_ settings: UNNotificationSettings) {
        self.init(
            authorization: Authorization(settings.authorizationStatus),
            banner: settings.alertSetting == .enabled,
            list: settings.notificationCenterSetting == .enabled,
            lockScreen: settings.lockScreenSetting == .enabled
        )
    }
}

extension AlertPermission.Authorization {
    fileprivate init(_ status: UNAuthorizationStatus) {
        switch status {
        case .notDetermined: self = .notDetermined
        case .denied: self = .denied
        case .authorized: self = .authorized
        case .provisional: self = .provisional
        case .ephemeral: self = .ephemeral
        // A status of a later system: nobody said no.
        @unknown default: self = .authorized
        }
    }
}
#endif
