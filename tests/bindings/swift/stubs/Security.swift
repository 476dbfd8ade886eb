// Stand-in for Apple's Security: the keychain's items in memory. For compiling and tests only, never shipped.

import Foundation

public typealias CFDictionary = [String: Any]
public typealias CFString = String
public typealias CFTypeRef = AnyObject
public typealias OSStatus = Int32

public let kSecClass: CFString = "class"
public let kSecClassGenericPassword: CFString = "genp"
public let kSecAttrService: CFString = "svce"
public let kSecAttrAccount: CFString = "acct"
public let kSecAttrAccessGroup: CFString = "agrp"
public let kSecAttrAccessible: CFString = "pdmn"
public let kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly: CFString = "cku"
public let kSecValueData: CFString = "v_Data"
public let kSecReturnData: CFString = "r_Data"
public let kSecMatchLimit: CFString = "m_Limit"
public let kSecMatchLimitOne: CFString = "m_LimitOne"
public let errSecSuccess: OSStatus = 0
public let errSecDuplicateItem: OSStatus = -25299
public let errSecItemNotFound: OSStatus = -25300
public let errSecMissingEntitlement: OSStatus = -34018

/// What tests look at and set: items by group, service and account, and a status that every call answers with.
public enum StubKeychain {
    public nonisolated(unsafe) static var items: [String: [String: Any]] = [:]
    public nonisolated(unsafe) static var failure: OSStatus?

    static func key(_ query: CFDictionary) -> String {
        [kSecAttrAccessGroup, kSecAttrService, kSecAttrAccount].map { query[$0] as? String ?? "-" }
            .joined(separator: "/")
    }
}

public func SecItemCopyMatching(_ query: CFDictionary, _ result: UnsafeMutablePointer<CFTypeRef?>?) -> OSStatus {
    if let failure = StubKeychain.failure { return failure }
    guard let data = StubKeychain.items[StubKeychain.key(query)]?[kSecValueData] as? Data else {
        return errSecItemNotFound
    }
    result?.pointee = NSData(data: data)
    return errSecSuccess
}

public func SecItemAdd(_ attributes: CFDictionary, _ result: UnsafeMutablePointer<CFTypeRef?>?) -> OSStatus {
    if let failure = StubKeychain.failure { return failure }
    let key = StubKeychain.key(attributes)
    guard StubKeychain.items[key] == nil else { return errSecDuplicateItem }
    StubKeychain.items[key] = attributes
    return errSecSuccess
}

public func SecItemUpdate(_ query: CFDictionary, _ attributesToUpdate: CFDictionary) -> OSStatus {
    if let failure = StubKeychain.failure { return failure }
    let key = StubKeychain.key(query)
    guard let item = StubKeychain.items[key] else { return errSecItemNotFound }
    StubKeychain.items[key] = item.merging(attributesToUpdate) { _, new in new }
    return errSecSuccess
}

public func SecItemDelete(_ query: CFDictionary) -> OSStatus {
    if let failure = StubKeychain.failure { return failure }
    return StubKeychain.items.removeValue(forKey: StubKeychain.key(query)) == nil ? errSecItemNotFound : errSecSuccess
}
