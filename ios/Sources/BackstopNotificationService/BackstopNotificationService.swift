// The notification service extension, ready to use: `class NotificationService: BackstopNotificationService {}`.

#if canImport(UserNotifications) && canImport(UIKit)
import BackstopSupport
import Foundation
import UserNotifications

/// Acknowledges Backstop's pushes and leaves all others to you.
///
/// Everything is recorded as a file before a request is made, no database is opened, and the content handler is always
/// called, exactly once. Override `prepare` to work on what is shown, and `didReceiveOther` for pushes that are not
/// Backstop's.
open class BackstopNotificationService: UNNotificationServiceExtension {
    private let handling = Locked<BackstopExtension.Handling?>(nil)

    open override func didReceive(
        _ request: UNNotificationRequest,
        withContentHandler contentHandler: @escaping (UNNotificationContent) -> Void
    ) {
        let handling = BackstopExtension.didReceive(
            request,
            prepare: { [weak self] in await self?.prepare($0) ?? $0 },
            withContentHandler: contentHandler
        )
        guard let handling else { return didReceiveOther(request, withContentHandler: contentHandler) }
        self.handling.with { $0 = handling }
    }

    open override func serviceExtensionTimeWillExpire() {
        handling.with { $0 }?.timeWillExpire()
    }

    /// A push that is not Backstop's. Shows it as it came.
    open func didReceiveOther(
        _ request: UNNotificationRequest,
        withContentHandler contentHandler: @escaping (UNNotificationContent) -> Void
    ) {
        contentHandler(request.content)
    }

    /// Your own work on one of Backstop's pushes, such as attachments. It runs beside the acknowledgement.
    open func prepare(_ content: UNMutableNotificationContent) async -> UNNotificationContent {
        content
    }
}

/// For an app that has a notification service extension already.
public enum BackstopExtension {
    /// A push in the making. Keep it until the content handler was called.
    public final class Handling: Sendable {
        private let run: ExtensionRun<UNNotificationContent>

        init(_ run: ExtensionRun<UNNotificationContent>) {
            self.run = run
        }

        /// Call it from `serviceExtensionTimeWillExpire`.
        public func timeWillExpire() {
            run.timeWillExpire()
        }
    }

    /// Acknowledges one of Backstop's pushes and calls the content handler when `prepare` is done. `nil` = it is
    /// not ours: the content handler is yours to call.
    public static func didReceive(
        _ request: UNNotificationRequest,
        prepare: @escaping (UNMutableNotificationContent) async -> UNNotificationContent = { $0 },
        withContentHandler contentHandler: @escaping (UNNotificationContent) -> Void
    ) -> Handling? {
        guard let receipt = receipt(in: request.content.userInfo),
            let content = request.content.mutableCopy() as? UNMutableNotificationContent
        else { return nil }
        let acknowledger = acknowledger()
        if acknowledger?.hasCredentials == true {
            // What the app's self-test looks for: an extension that cannot acknowledge by itself has not done its work.
            content.userInfo[PayloadReader.extensionMark] = true
        }
        let run = ExtensionRun<UNNotificationContent>(content: content, show: contentHandler)
        run.start(
            receipt: receipt,
            .init(
                permission: { await AlertPermission.current() },
                acknowledger: acknowledger,
                // A copy: what is there may be shown while the host still works.
                prepare: { shown in
                    guard let copy = shown.mutableCopy() as? UNMutableNotificationContent else { return shown }
                    return await prepare(copy)
                }
            ))
        return Handling(run)
    }

    /// `nil` = the extension is not set up, which is logged: the push is shown all the same.
    private static func acknowledger() -> Acknowledger? {
        do {
            let setUp = try SetUp(
                info: Bundle.main.infoDictionary ?? [:],
                bundleId: Bundle.main.bundleIdentifier ?? "",
                open: { AppGroup(identifier: $0) }
            )
            return try Acknowledger(
                settings: setUp.settings,
                group: setUp.group,
                credentials: credentials(setUp.keychainGroup),
                log: log
            )
        } catch {
            log("\(error)")
            return nil
        }
    }

    /// `nil` = they cannot be read: the ack waits on disk for the app.
    private static func credentials(_ group: String) -> SharedCredentials? {
        do {
            return try Keychain(group: group).read()
        } catch {
            log("\(error)")
            return nil
        }
    }

    @Sendable
    private static func log(_ message: String) {
        // Our lines hold nothing personal. NSLog is what a console shows of an extension.
        NSLog("%@", "backstop extension: \(message)")
    }
}
#endif
