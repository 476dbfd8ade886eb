// A value behind a lock: the state that several threads share.

import Foundation

package final class Locked<Value>: @unchecked Sendable {
    private let lock = NSLock()
    private var value: Value

    package init(_ value: Value) {
        self.value = value
    }

    /// Runs `body` alone. It must not wait for anything.
    package func with<Result>(_ body: (inout Value) throws -> Result) rethrows -> Result {
        lock.lock()
        defer { lock.unlock() }
        return try body(&value)
    }
}

/// A closure that is called at most once, whoever comes first: what systems ask of completion handlers.
package final class Once<Input>: @unchecked Sendable {
    private let handler: Locked<((Input) -> Void)?>

    package init(_ handler: @escaping (Input) -> Void) {
        self.handler = Locked(handler)
    }

    /// Whether this call was the one.
    @discardableResult
    package func callAsFunction(_ input: Input) -> Bool {
        let taken = handler.with { handler -> ((Input) -> Void)? in
            defer { handler = nil }
            return handler
        }
        taken?(input)
        return taken != nil
    }
}
