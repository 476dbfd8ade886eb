// What a host app tells the SDK once, at `Backstop.initialize`.

import Foundation

/// The SDK's set-up. Only the server and the app key are needed.
public struct BackstopConfig: Sendable {
    /// The server, `https://push.example.com`, with a path prefix if it has one.
    public var baseUrl: String
    /// The workspace's `app_…` key. It may be public: it only says which company's app this is.
    public var appKey: String
    /// The schemes that a push's link may have. Others lead nowhere.
    public var linkSchemes: [String]
    /// The app group shared with the notification service extension. `nil` = `group.<bundle id>.backstop`.
    public var appGroup: String?
    /// The keychain group shared with the extension. `nil` = the app group, which the system takes for one.
    public var keychainGroup: String?
    /// BCP 47, of the texts that the customer reads. `nil` = the workspace's.
    public var locale: String?
    /// An identifier of `BGTaskSchedulerPermittedIdentifiers` under which the SDK sends what waits while the app is in
    /// the background. Needs `initialize` before the app finished launching. `nil` = at the next foreground.
    public var backgroundTaskIdentifier: String?
    /// How much is logged.
    public var logLevel: Backstop.LogLevel
    /// Where log lines go. `nil` = the system's log, subsystem `dev.backstop`.
    public var logSink: (@Sendable (Backstop.LogLevel, String) -> Void)?
    /// Root certificates in PEM beside the public ones, for servers under a company's own authority.
    public var extraRootCertificates: [Data]
    /// Plain `http://` to other machines than this one. Taken in debug builds only.
    public var allowHttp: Bool

    /// The set-up with its defaults: logs warnings to the system's log, follows `https` links.
    public init(
        baseUrl: String,
        appKey: String,
        linkSchemes: [String] = ["https"],
        appGroup: String? = nil,
        keychainGroup: String? = nil,
        locale: String? = nil,
        backgroundTaskIdentifier: String? = nil,
        logLevel: Backstop.LogLevel = .warn,
        logSink: (@Sendable (Backstop.LogLevel, String) -> Void)? = nil,
        extraRootCertificates: [Data] = [],
        allowHttp: Bool = false
    ) {
        self.baseUrl = baseUrl
        self.appKey = appKey
        self.linkSchemes = linkSchemes
        self.appGroup = appGroup
        self.keychainGroup = keychainGroup
        self.locale = locale
        self.backgroundTaskIdentifier = backgroundTaskIdentifier
        self.logLevel = logLevel
        self.logSink = logSink
        self.extraRootCertificates = extraRootCertificates
        self.allowHttp = allowHttp
    }

    /// Whether the other leads to the same SDK. Sinks cannot be compared: the first stays.
    func isSame(as other: BackstopConfig) -> Bool {
        baseUrl == other.baseUrl && appKey == other.appKey && linkSchemes == other.linkSchemes
            && appGroup == other.appGroup && keychainGroup == other.keychainGroup && locale == other.locale
            && backgroundTaskIdentifier == other.backgroundTaskIdentifier && logLevel == other.logLevel
            && extraRootCertificates == other.extraRootCertificates && allowHttp == other.allowHttp
    }
}
