// The part of a notification that is ours, taken out once and safe to hand to another task.

import BackstopBindings
import BackstopSupport

extension Backstop {
    /// What a notification's `userInfo` holds for Backstop.
    public struct Payload: Sendable {
        /// Our key as JSON; `nil` = it is not there.
        let json: String?
        /// Reads our own key and nothing else.
        public init(_ userInfo: [AnyHashable: Any]) {
            json = PayloadReader.json(of: userInfo)
        }

        /// The push, without touching anything; `nil` = not ours.
        public var push: Push? {
            guard let json, let push = try? parsePush(payload: json) else { return nil }
            return Push(push)
        }
    }
}

extension Backstop.Payload: CustomStringConvertible, CustomDebugStringConvertible {
    public var description: String { json == nil ? "Payload(not ours)" : "Payload(hidden)" }
    public var debugDescription: String { description }
}
