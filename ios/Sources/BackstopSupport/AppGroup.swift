// What app and notification extension share: the container's paths, and the settings that the app leaves there.

import Foundation

package struct AppGroup: Equatable, Sendable {
    package let container: URL

    package init(container: URL) {
        self.container = container
    }

    /// `nil` = the container does not open: the group is missing in the target's entitlements.
    package init?(identifier: String) {
        #if canImport(Darwin)
        guard
            let container = FileManager.default.containerURL(forSecurityApplicationGroupIdentifier: identifier)
        else { return nil }
        self.container = container
        #else
        return nil
        #endif
    }

    /// The group that an app has when it names none.
    package static func defaultIdentifier(appBundleId: String) -> String {
        "group.\(appBundleId).backstop"
    }

    /// The bundle id of the app that holds the extension: `com.acme.app` of `com.acme.app.notifications`.
    package static func appBundleId(ofExtension bundleId: String) -> String {
        bundleId.split(separator: ".").dropLast().joined(separator: ".")
    }

    /// Where the extension's events lie, each a file, until the app takes them over.
    package var spool: URL { directory.appendingPathComponent("spool", isDirectory: true) }
    package var settingsFile: URL { directory.appendingPathComponent("extension.json") }
    fileprivate var offFile: URL { directory.appendingPathComponent("switched-off") }
    private var directory: URL { container.appendingPathComponent("backstop", isDirectory: true) }

    /// Makes the directory, which backups leave out.
    package func prepare() throws {
        try Self.makeDirectory(directory)
    }

    /// Everything that the app left there goes; what stays tells the extension to keep nothing either.
    package func switchOff() throws {
        if FileManager.default.fileExists(atPath: directory.path) {
            try FileManager.default.removeItem(at: directory)
        }
        try prepare()
        try Data().write(to: offFile)
    }

    package var isSwitchedOff: Bool { FileManager.default.fileExists(atPath: offFile.path) }
    package var hasSettings: Bool { FileManager.default.fileExists(atPath: settingsFile.path) }

    /// A directory that backups leave out, since what lies there belongs to this device alone, and that is readable
    /// after the first unlock, also in apps that protect their files more.
    package static func makeDirectory(_ directory: URL) throws {
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        #if canImport(Darwin)
        #if os(iOS)
        let protection = [FileAttributeKey.protectionKey: FileProtectionType.completeUntilFirstUserAuthentication]
        try FileManager.default.setAttributes(protection, ofItemAtPath: directory.path)
        #endif
        var directory = directory
        var values = URLResourceValues()
        values.isExcludedFromBackup = true
        try directory.setResourceValues(values)
        #endif
    }
}

/// What an extension must know of the app's configuration. No secret is in it: the device's key lies in the keychain.
package struct ExtensionSettings: Codable, Equatable, Sendable {
    package var baseUrl: String
    package var appKey: String
    package var keychainGroup: String?
    package var extraRootCertificates: [Data]
    package var allowHttp: Bool

    package init(
        baseUrl: String,
        appKey: String,
        keychainGroup: String?,
        extraRootCertificates: [Data] = [],
        allowHttp: Bool = false
    ) {
        self.baseUrl = baseUrl
        self.appKey = appKey
        self.keychainGroup = keychainGroup
        self.extraRootCertificates = extraRootCertificates
        self.allowHttp = allowHttp
    }

    /// The keys of an extension's Info.plist, for the pushes that come before the app was ever started.
    package enum InfoKey {
        package static let baseUrl = "BackstopBaseUrl"
        package static let appKey = "BackstopAppKey"
        package static let appGroup = "BackstopAppGroup"
        package static let keychainGroup = "BackstopKeychainGroup"
    }

    /// From the extension's Info.plist; `nil` = it does not say.
    package init?(info: [String: Any]) {
        guard let baseUrl = info[InfoKey.baseUrl] as? String, let appKey = info[InfoKey.appKey] as? String else {
            return nil
        }
        self.init(baseUrl: baseUrl, appKey: appKey, keychainGroup: info[InfoKey.keychainGroup] as? String)
    }

    /// What the app wrote last; `nil` = it was never started, or is switched off.
    package static func read(from group: AppGroup) -> ExtensionSettings? {
        guard let data = try? Data(contentsOf: group.settingsFile) else { return nil }
        return try? JSONDecoder().decode(ExtensionSettings.self, from: data)
    }

    /// A reader finds the old settings or the new, never a half; readable after the first unlock.
    package func write(to group: AppGroup) throws {
        try group.prepare()
        #if canImport(Darwin)
        let options: Data.WritingOptions = [.atomic, .completeFileProtectionUntilFirstUserAuthentication]
        #else
        let options: Data.WritingOptions = [.atomic]
        #endif
        try JSONEncoder().encode(self).write(to: group.settingsFile, options: options)
        if group.isSwitchedOff {
            try FileManager.default.removeItem(at: group.offFile)
        }
    }
}
