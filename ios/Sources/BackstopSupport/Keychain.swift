// The credentials in the system's keychain: this device only, readable after the first unlock.

#if canImport(Security)
import Foundation
import Security

package struct Keychain: CredentialStore {
    private let group: String?

    /// `group`: a keychain group or an app group, which the system takes for one. `nil` = the app's own.
    package init(group: String?) {
        self.group = group
    }

    package func read() throws -> SharedCredentials? {
        var query = item
        query[kSecReturnData as String] = true
        query[kSecMatchLimit as String] = kSecMatchLimitOne
        var found: CFTypeRef?
        let status = SecItemCopyMatching(query as CFDictionary, &found)
        switch status {
        case errSecSuccess:
            guard let data = found as? Data else { return nil }
            // What another version wrote is no credential: the app writes its own again.
            return try? JSONDecoder().decode(SharedCredentials.self, from: data)
        case errSecItemNotFound:
            return nil
        default:
            throw KeychainError(status: status)
        }
    }

    package func write(_ credentials: SharedCredentials) throws {
        let data = try JSONEncoder().encode(credentials)
        let change: [String: Any] = [
            kSecValueData as String: data,
            kSecAttrAccessible as String: kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly,
        ]
        var status = SecItemUpdate(item as CFDictionary, change as CFDictionary)
        if status == errSecItemNotFound {
            let new = item.merging(change) { _, new in new }
            status = SecItemAdd(new as CFDictionary, nil)
            if status == errSecDuplicateItem {
                // Another process was first.
                status = SecItemUpdate(item as CFDictionary, change as CFDictionary)
            }
        }
        guard status == errSecSuccess else { throw KeychainError(status: status) }
    }

    package func remove() throws {
        let status = SecItemDelete(item as CFDictionary)
        guard status == errSecSuccess || status == errSecItemNotFound else { throw KeychainError(status: status) }
    }

    private var item: [String: Any] {
        var item: [String: Any] = [
            kSecClass as String: kSecClassGenericPassword,
            kSecAttrService as String: "dev.backstop",
            kSecAttrAccount as String: "device",
        ]
        if let group {
            item[kSecAttrAccessGroup as String] = group
        }
        return item
    }
}
#endif
