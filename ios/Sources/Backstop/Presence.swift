// Tells the server while the app is in front, and that it left: heartbeats while a window is open, one word after.

import BackstopBindings
import BackstopSupport
import Foundation

/// Which of the app's windows are in front.
package struct Windows {
    private var inFront: Set<AnyHashable> = []

    package init() {}

    /// Whether the app came to the front by it.
    package mutating func came(_ window: AnyHashable) -> Bool {
        inFront.insert(window).inserted && inFront.count == 1
    }

    /// Whether the app left the front by it.
    package mutating func left(_ window: AnyHashable) -> Bool {
        inFront.remove(window) != nil && inFront.isEmpty
    }
}

final class PresenceReporter: Sendable {
    /// Two may be lost within the 60 s after which the server takes a silent app for gone.
    static let heartbeat: TimeInterval = 20

    /// When the customer did something, by the clock of `uptime`; `nil` = the app does not say.
    private let activity = Locked<TimeInterval?>(nil)

    private static var uptime: TimeInterval { ProcessInfo.processInfo.systemUptime }

    /// Since when the customer did nothing. An app in front that does not say is one that is looked at: a screen that
    /// is left alone goes dark by itself.
    var idleMs: Int64 { activity.with { $0.map { Int64(max(0, Self.uptime - $0) * 1_000) } ?? 0 } }

    func noteActivity() {
        activity.with { $0 = Self.uptime }
    }

    private let state = Locked<(windows: Windows, task: Task<Void, Never>?)>((Windows(), nil))

    /// Whether the app came to the front by it.
    func came(
        _ window: AnyHashable,
        sleep: @escaping @Sendable (TimeInterval) async throws -> Void,
        tell: @escaping @Sendable (PresenceState) async -> Void,
        atFirst: @escaping @Sendable () async -> Void
    ) -> Bool {
        state.with { state in
            guard state.windows.came(window) else { return false }
            activity.with { $0 = $0.map { _ in Self.uptime } }
            let before = state.task
            before?.cancel()
            state.task = Task {
                await before?.value
                async let first: Void = atFirst()
                repeat {
                    await tell(.active)
                } while (try? await sleep(Self.heartbeat)) != nil
                await first
            }
            return true
        }
    }

    func left(_ window: AnyHashable, tell: @escaping @Sendable (PresenceState) async -> Void) -> Task<Void, Never> {
        state.with { state in
            guard state.windows.left(window) else { return Task {} }
            let heartbeats = state.task
            heartbeats?.cancel()
            let task = Task {
                // The last heartbeat must not overtake the farewell.
                await heartbeats?.value
                await tell(.left)
            }
            state.task = task
            return task
        }
    }

    func close() async {
        let task = state.with { state -> Task<Void, Never>? in
            defer { state = (Windows(), nil) }
            state.task?.cancel()
            return state.task
        }
        await task?.value
    }
}
