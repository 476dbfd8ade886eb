// The part of a notification's `userInfo` that is ours, as the Rust core reads it.

import Foundation

package enum PayloadReader {
    /// The reserved key of our pushes.
    package static let key = "backstop"
    /// What the notification extension leaves in `userInfo`, so that the app's self-test sees that it ran.
    package static let extensionMark = "backstop_extension"

    /// Only our keys cross: what else a host app or another SDK put there is never read. `nil` = it is not there.
    package static func json(of userInfo: [AnyHashable: Any]) -> String? {
        guard let ours = userInfo[key] else { return nil }
        var wrapped = [key: ours]
        if userInfo[extensionMark] != nil {
            wrapped[extensionMark] = true
        }
        guard JSONSerialization.isValidJSONObject(wrapped),
            let data = try? JSONSerialization.data(withJSONObject: wrapped)
        else { return nil }
        return String(decoding: data, as: UTF8.self)
    }
}
