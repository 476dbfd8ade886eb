// Reads the push environment that an app was signed for from its embedded provisioning profile.

import Foundation

package struct ProvisioningProfile: Equatable, Sendable {
    /// Apple's two push environments, in the words of the entitlement.
    package enum APSEnvironment: String, Sendable {
        case development
        case production
    }

    /// `nil` = the profile grants no push.
    package let apsEnvironment: APSEnvironment?

    /// `profile`: the file `embedded.mobileprovision`, a signed envelope around a property list. The signature is the
    /// system's business. `nil` = there is no property list in it.
    package init?(_ profile: Data) {
        guard let start = profile.range(of: Data("<?xml".utf8)),
            let end = profile.range(of: Data("</plist>".utf8), in: start.lowerBound..<profile.endIndex)
        else { return nil }
        let list = profile.subdata(in: start.lowerBound..<end.upperBound)
        guard let root = try? PropertyListSerialization.propertyList(from: list, format: nil) as? [String: Any] else {
            return nil
        }
        let entitlements = root["Entitlements"] as? [String: Any]
        let environment = entitlements?["aps-environment"] as? String
        apsEnvironment = environment.flatMap(APSEnvironment.init(rawValue:))
    }

    /// The environment of this build. The App Store takes the profile out, and simulators have none.
    package static func environment(profile: Data?, isSimulator: Bool) -> APSEnvironment? {
        guard let profile else { return isSimulator ? .development : .production }
        return ProvisioningProfile(profile)?.apsEnvironment
    }
}
