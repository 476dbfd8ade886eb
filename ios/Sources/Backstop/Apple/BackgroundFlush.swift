// Sends what waits while the app is in the background, when the system grants it the time.

#if canImport(BackgroundTasks) && canImport(UIKit)
import BackgroundTasks
import BackstopSupport
import Foundation

enum BackgroundFlush {
    private static let registered = Locked<Set<String>>([])

    /// Registers with the system and answers how to ask it for time; `nil` = Info.plist does not permit the identifier.
    /// The system ends an app that registers one identifier twice, or one after the app finished launching.
    static func register(
        _ identifier: String,
        info: [String: Any] = Bundle.main.infoDictionary ?? [:]
    ) -> (@Sendable (TimeInterval) -> Void)? {
        let permitted = info["BGTaskSchedulerPermittedIdentifiers"] as? [String]
        guard permitted?.contains(identifier) == true else { return nil }
        if registered.with({ $0.insert(identifier).inserted }) {
            BGTaskScheduler.shared.register(forTaskWithIdentifier: identifier, using: nil) { task in
                run(task, identifier)
            }
        }
        return { seconds in plan(identifier, seconds) }
    }

    private static func plan(_ identifier: String, _ seconds: TimeInterval) {
        let request = BGAppRefreshTaskRequest(identifier: identifier)
        request.earliestBeginDate = Date(timeIntervalSinceNow: seconds)
        // Refused (background refresh is off, or too many wait): what waits goes at the next foreground.
        try? BGTaskScheduler.shared.submit(request)
    }

    private static func run(_ task: BGTask, _ identifier: String) {
        let completed = Once<Bool> { task.setTaskCompleted(success: $0) }
        // First of all: the system may take the time away before there is another chance.
        plan(identifier, Session.background)
        let work = Task {
            let flushed = try? await Backstop.flush(timeout: 20)
            if let next = flushed?.nextFlushIn, next < Session.background {
                plan(identifier, next)
            }
            completed(flushed?.pending == 0)
        }
        task.expirationHandler = {
            work.cancel()
            completed(false)
        }
    }
}
#endif
