// A link as Foundation takes it, which refuses other characters than ASCII before iOS 17.

import Foundation

enum Link {
    static func url(_ link: String) -> URL? {
        URL(string: link) ?? URL(string: encoded(link))
    }

    /// Everything beyond ASCII as percent-encoded UTF-8; the rest as it is.
    static func encoded(_ link: String) -> String {
        link.utf8.map { $0 < 0x80 ? String(UnicodeScalar($0)) : String(format: "%%%02X", $0) }.joined()
    }
}
