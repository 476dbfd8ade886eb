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
    /// Well within the 60 s after which the server takes a silent app for gone.
    static let heartbeat: TimeInterval = 45

    /// When the customer did something, by the clock of `uptime`.
    private let activity = Locked(PresenceReporter.uptime)

    private static var uptime: TimeInterval { ProcessInfo.processInfo.systemUptime }

    /// Since when the customer did nothing.
    var idleMs: Int64 { activity.with { Int64(max(0, Self.uptime - $0) * 1_000) } }

    func noteActivity() {
        activity.with { $0 = Self.uptime }
    }

    private let state = Locked<(windows: Windows, task: Task<Void, Never>?)>((Windows(), nil))

    func came(
        _ window: AnyHashable,
        every seconds: TimeInterval,
        sleep: @escaping @Sendable (TimeInterval) async throws -> Void,
        tell: @escaping @Sendable (PresenceState) async -> Void,
        atFirst: @escaping @Sendable () async -> Void
    ) {
        state.with { state in
            guard state.windows.came(window) else { return }
            noteActivity()
            let before = state.task
            state.task = Task {
                await before?.value
                async let first: Void = atFirst()
                repeat {
                    await tell(.active)
                } while (try? await sleep(seconds)) != nil
                await first
            }
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
