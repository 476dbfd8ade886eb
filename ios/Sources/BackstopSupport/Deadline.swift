// Waits for an answer only so long: what asks the system must never keep a push waiting.

import Foundation

/// The answer, or `nil` when it is not there in time. What is late goes on alone, and its answer is dropped.
package func within<Answer: Sendable>(
    _ seconds: TimeInterval,
    _ body: @escaping @Sendable () async -> Answer
) async -> Answer? {
    await withCheckedContinuation { continuation in
        let answer = Once<Answer?> { continuation.resume(returning: $0) }
        let work = Task { answer(await body()) }
        Task {
            try? await Task.sleep(nanoseconds: UInt64(max(0, seconds) * 1_000_000_000))
            if answer(nil) {
                work.cancel()
            }
        }
    }
}
