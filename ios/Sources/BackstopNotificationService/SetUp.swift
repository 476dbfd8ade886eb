// Where a notification extension finds its set-up: what the app left in the app group, else the extension's Info.plist.

import BackstopSupport
import Foundation

package struct SetUp {
    package let group: AppGroup
    package let settings: ExtensionSettings
    package let keychainGroup: String

    /// Why an extension is not set up, in a sentence.
    package struct Missing: Error, CustomStringConvertible {
        package let description: String
    }

    /// `open`: opens the container of an app group.
    package init(info: [String: Any], bundleId: String, open: (String) -> AppGroup?) throws {
        let appId = AppGroup.appBundleId(ofExtension: bundleId)
        let named = info[ExtensionSettings.InfoKey.appGroup] as? String
        let groupId = named ?? AppGroup.defaultIdentifier(appBundleId: appId)
        guard let group = open(groupId) else {
            throw Missing(
                description: "the app group `\(groupId)` does not open: add it to the entitlements of the extension,"
                    + " or name yours as `\(ExtensionSettings.InfoKey.appGroup)` in its Info.plist")
        }
        guard !group.isSwitchedOff else {
            throw Missing(description: "the app switched Backstop off: no push is acknowledged")
        }
        let left = ExtensionSettings.read(from: group)
        guard left != nil || !group.hasSettings else {
            throw Missing(description: "what the app left cannot be read before the first unlock after a restart")
        }
        // What the app says is newer than what the extension was built with.
        guard let settings = left ?? ExtensionSettings(info: info) else {
            throw Missing(
                description: "the app was never started: no push is acknowledged until then."
                    + " `\(ExtensionSettings.InfoKey.baseUrl)` and `\(ExtensionSettings.InfoKey.appKey)` in the"
                    + " extension's Info.plist would do before the first start")
        }
        self.group = group
        self.settings = settings
        keychainGroup = settings.keychainGroup ?? groupId
    }
}
