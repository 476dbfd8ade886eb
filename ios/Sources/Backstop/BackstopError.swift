// What can go wrong for a host app: one case for each thing that it can do about it.

import BackstopBindings
import Foundation

/// Why a call failed. Being offline is not among them for what is kept: an ack or a log-in goes with a later `flush`.
///
/// `message` is one English sentence for a developer's log. It holds no token, key, receipt or customer.
public enum BackstopError: Error, Equatable, Sendable {
    /// `Backstop.initialize` was not called, or `Backstop.close` was.
    case notInitialized
    /// Mend the named setting or argument; nothing was stored.
    case invalid(name: String, message: String)
    /// The device's disk is full and nothing was stored: call again when there is room.
    case storageFull(message: String)
    /// The SDK's storage cannot be used: call again, or update the app, as the sentence says.
    case storageUnusable(message: String)
    /// The call needs a registered device: give the push token first.
    case notRegistered(message: String)
    /// The server was not reached, or its answer was lost: try again later.
    case unreachable(message: String)
    /// The server said no. `code` is the problem's code (`rate_limited`), or empty.
    case refused(status: Int, code: String, message: String)
    /// The SDK was switched off with `setEnabled(false)`: nothing is kept or sent until it is switched on again.
    case disabled(message: String)
    /// The task was cancelled. What was recorded before stays recorded.
    case cancelled(message: String)
    /// A defect of the SDK, worth a report. The SDK goes on working.
    case defect(message: String)

    /// What happened, in a sentence.
    public var message: String {
        switch self {
        case .notInitialized:
            return "call `Backstop.initialize` first, when the app finishes launching"
        case .invalid(_, let message), .storageFull(let message), .storageUnusable(let message),
            .notRegistered(let message), .unreachable(let message), .refused(_, _, let message),
            .disabled(let message), .cancelled(let message), .defect(let message):
            return message
        }
    }
}

extension BackstopError: LocalizedError, CustomStringConvertible {
    public var errorDescription: String? { message }
    public var description: String { message }
}

extension BackstopError {
    /// The library's error in a Swift developer's words.
    init(_ error: any Error) {
        switch error {
        case let error as BackstopError:
            self = error
        case let error as SdkError:
            self.init(sdk: error)
        default:
            // A panic in the library arrives as an error of the generated code.
            let advice = "a defect of the SDK: please report it; the SDK goes on working"
            self = .defect(message: "\(advice) (\(error.localizedDescription))")
        }
    }

    private init(sdk error: SdkError) {
        switch error {
        case .Invalid(let name, let explanation):
            self = .invalid(name: name, message: explanation)
        case .StorageFull(let explanation):
            self = .storageFull(message: explanation)
        case .StorageUnusable(let explanation):
            self = .storageUnusable(message: explanation)
        case .NotRegistered(let explanation):
            self = .notRegistered(message: explanation)
        case .Unreachable(let explanation):
            self = .unreachable(message: explanation)
        case .Refused(let status, let code, let explanation):
            self = .refused(status: Int(status), code: code, message: explanation)
        case .Disabled(let explanation):
            self = .disabled(message: explanation)
        case .Cancelled(let explanation):
            self = .cancelled(message: explanation)
        }
    }
}
