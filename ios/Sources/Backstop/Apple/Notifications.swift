// The system's notification callbacks: forwarded to the host app's delegate, and looked at on the way.

#if canImport(UserNotifications) && canImport(UIKit)
import BackstopSupport
import Foundation
import UserNotifications

extension Backstop {
    /// Puts the SDK between the system and the notification centre's delegate, to which everything is forwarded. Call
    /// it before the app finished launching, after setting a delegate of the app's own, if it has one. Nothing is
    /// swizzled. `onLink` gets the link of a tapped push once.
    @MainActor
    public static func installNotificationDelegate(onLink: @escaping @MainActor @Sendable (URL) -> Void) {
        let center = UNUserNotificationCenter.current()
        // Installed again: only where links go is new.
        let host = (center.delegate as? NotificationDelegate)?.host ?? center.delegate
        let delegate = NotificationDelegate(host: host, onLink: onLink)
        center.delegate = delegate
        // The centre holds its delegate weakly.
        NotificationDelegate.installed.with { $0 = delegate }
    }

    /// For an app with a delegate of its own: the customer answered a notification. Dismissing it is no answer; a
    /// button of the app's own counts as opened, and the link stays for a tap.
    @discardableResult
    public static func didReceive(_ response: UNNotificationResponse) async throws -> TapResult {
        let payload = Payload(response.notification.request.content.userInfo)
        switch response.actionIdentifier {
        case UNNotificationDismissActionIdentifier:
            return .notOurs
        case UNNotificationDefaultActionIdentifier:
            return try await handleTap(payload)
        default:
            guard let push = payload.push else { return .notOurs }
            return .ours(push, link: nil, ack: try await acknowledge(push, grade: .opened))
        }
    }

    /// For an app with a delegate of its own: a notification arrives while the app is in front. `shown`: whether the
    /// delegate lets the system show it, as banner or in the list; a sound alone shows nothing. Returns at once.
    public static func willPresent(_ notification: UNNotification, shown: Bool) {
        let payload = Payload(notification.request.content.userInfo)
        guard payload.push != nil else { return }
        inBackground("a push while the app is in front") {
            try await handlePush(payload, seen: shown ? .bySettings : .received)
        }
    }
}

/// Forwards everything to the host app's delegate and calls each completion handler exactly once.
final class NotificationDelegate: NSObject, UNUserNotificationCenterDelegate, @unchecked Sendable {
    static let installed = Locked<NotificationDelegate?>(nil)

    /// What the customer sees; the third is `.alert`, which older apps still answer.
    private static let visible: UNNotificationPresentationOptions = [
        .banner, .list, UNNotificationPresentationOptions(rawValue: 1 << 2),
    ]

    fileprivate weak var host: UNUserNotificationCenterDelegate?
    private let onLink: @MainActor @Sendable (URL) -> Void

    init(host: UNUserNotificationCenterDelegate?, onLink: @escaping @MainActor @Sendable (URL) -> Void) {
        self.host = host
        self.onLink = onLink
    }

    func userNotificationCenter(
        _ center: UNUserNotificationCenter,
        willPresent notification: UNNotification,
        withCompletionHandler completionHandler: @escaping (UNNotificationPresentationOptions) -> Void
    ) {
        let decided = Once<UNNotificationPresentationOptions> { options in
            Backstop.willPresent(notification, shown: !options.isDisjoint(with: Self.visible))
            completionHandler(options)
        }
        let forwarded: Void? = host?.userNotificationCenter?(
            center, willPresent: notification, withCompletionHandler: { decided($0) })
        guard forwarded == nil else { return }
        // Without a word of the host's, only our own pushes are shown over the app.
        let isOurs = Backstop.handles(notification.request.content.userInfo)
        decided(isOurs ? [.banner, .list, .sound] : [])
    }

    func userNotificationCenter(
        _ center: UNUserNotificationCenter,
        didReceive response: UNNotificationResponse,
        withCompletionHandler completionHandler: @escaping () -> Void
    ) {
        let onLink = onLink
        let completed = Once<Void> { _ in completionHandler() }
        let forwarded: Void? = host?.userNotificationCenter?(
            center, didReceive: response, withCompletionHandler: { completed(()) })
        Task { @MainActor in
            do {
                if case .ours(_, let link?, _) = try await Backstop.didReceive(response) { onLink(link) }
            } catch {
                Backstop.logFailure("a tap", error)
            }
            // The system may suspend the app once it is told: not before the tap is on disk.
            if forwarded == nil { completed(()) }
        }
    }

    func userNotificationCenter(
        _ center: UNUserNotificationCenter,
        openSettingsFor notification: UNNotification?
    ) {
        _ = host?.userNotificationCenter?(center, openSettingsFor: notification)
    }
}
#endif
