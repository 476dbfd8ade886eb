// What only the phone can tell a self-test.

import BackstopBindings
import BackstopSupport

extension Session {
    func facts(permission: AlertPermission?, known: DeviceCredentials?) -> DeviceFacts {
        DeviceFacts(
            alerts: permission.map(BackstopBindings.Alerts.init),
            channelOn: nil,
            backgroundAllowed: nil,
            pushServiceProblem: nil,
            signedEnvironment: surroundings.environment.map(BackstopBindings.Environment.init),
            appGroupOpens: surroundings.appGroup != nil,
            extensionPresent: surroundings.extensionPresent,
            keychainShared: keychainShared(known)
        )
    }

    /// Whether the keychain answers what the library knows; `nil` = there is nothing to share yet.
    private func keychainShared(_ known: DeviceCredentials?) -> Bool? {
        guard let known else { return nil }
        guard surroundings.credentialsAreShared else { return false }
        let expected = SharedCredentials(deviceId: known.deviceId, deviceKey: known.deviceKey)
        return (try? surroundings.credentials.read()) == expected
    }
}
