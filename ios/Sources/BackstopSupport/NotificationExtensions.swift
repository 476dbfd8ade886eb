// Looks whether an app carries a notification service extension.

import Foundation

package enum NotificationExtensions {
    /// `plugIns`: the app's directory of extensions. `nil` = it has none.
    package static func isPresent(in plugIns: URL?) -> Bool {
        guard let plugIns,
            let found = try? FileManager.default.contentsOfDirectory(at: plugIns, includingPropertiesForKeys: nil)
        else { return false }
        return found.contains { $0.pathExtension == "appex" && isNotificationService($0) }
    }

    private static func isNotificationService(_ plugIn: URL) -> Bool {
        guard let data = try? Data(contentsOf: plugIn.appendingPathComponent("Info.plist")),
            let info = try? PropertyListSerialization.propertyList(from: data, format: nil) as? [String: Any],
            let about = info["NSExtension"] as? [String: Any]
        else { return false }
        return about["NSExtensionPointIdentifier"] as? String == "com.apple.usernotifications.service"
    }
}
