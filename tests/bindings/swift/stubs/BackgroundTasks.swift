// Stand-in for Apple's BackgroundTasks, signatures as Apple documents them. For compiling and tests only, never
// shipped.

@_exported import Foundation

open class BGTask: NSObject, @unchecked Sendable {
    open var identifier: String { "" }
    open var expirationHandler: (() -> Void)?
    /// What tests look at.
    public var completed: [Bool] = []
    open func setTaskCompleted(success: Bool) { completed.append(success) }
}

open class BGTaskRequest: NSObject {
    open var identifier: String
    open var earliestBeginDate: Date?
    fileprivate init(_ identifier: String) { self.identifier = identifier }
}

open class BGAppRefreshTaskRequest: BGTaskRequest {
    public init(identifier: String) { super.init(identifier) }
}

open class BGTaskScheduler: NSObject, @unchecked Sendable {
    public static let shared = BGTaskScheduler()
    /// What tests look at.
    public var handlers: [String: (BGTask) -> Void] = [:]
    public var submitted: [BGTaskRequest] = []

    @discardableResult
    open func register(
        forTaskWithIdentifier identifier: String,
        using queue: DispatchQueue?,
        launchHandler: @escaping (BGTask) -> Void
    ) -> Bool {
        handlers.updateValue(launchHandler, forKey: identifier) == nil
    }

    open func submit(_ taskRequest: BGTaskRequest) throws { submitted.append(taskRequest) }
}
