// Brings the library's log lines, and the SDK's own, to the host app's sink or the system's log.

import BackstopBindings
import BackstopSupport
import Foundation

/// One for the process, as the library's buffer is.
final class LogPump: Sendable {
    static let shared = LogPump()

    private struct State {
        var level = Backstop.LogLevel.none
        var sink: (@Sendable (Backstop.LogLevel, String) -> Void)?
        var isPumping = false
    }

    private let state = Locked(State())

    func start(level: Backstop.LogLevel, sink: @escaping @Sendable (Backstop.LogLevel, String) -> Void) {
        try? setLogLevel(level: BackstopBindings.LogLevel(level))
        let isPumping = state.with { state in
            defer { state = State(level: level, sink: sink, isPumping: true) }
            return state.isPumping
        }
        guard !isPumping else { return }
        Task(priority: .background) {
            // Ends only with a library that does not answer.
            while let lines = try? await nextLogs(waitMs: 60_000) {
                lines.forEach { self.write(Backstop.LogLevel($0.level), $0.message) }
            }
            self.state.with { $0.isPumping = false }
        }
    }

    func write(_ level: Backstop.LogLevel, _ message: String) {
        let sink = state.with { level <= $0.level ? $0.sink : nil }
        sink?(level, message)
    }

    func silence() {
        state.with { state in
            state.level = .none
            state.sink = nil
        }
    }
}

#if canImport(os)
import os

enum SystemLog {
    private static let logger = Logger(subsystem: "dev.backstop", category: "sdk")

    /// Our lines hold nothing personal, so that the log may show them.
    @Sendable static func write(_ level: Backstop.LogLevel, _ message: String) {
        switch level {
        case .none: break
        case .error: logger.error("\(message, privacy: .public)")
        case .warn: logger.warning("\(message, privacy: .public)")
        case .info: logger.info("\(message, privacy: .public)")
        case .debug: logger.debug("\(message, privacy: .public)")
        }
    }
}
#else
enum SystemLog {
    @Sendable static func write(_ level: Backstop.LogLevel, _ message: String) {
        FileHandle.standardError.write(Data("backstop \(level): \(message)\n".utf8))
    }
}
#endif
