// One push in a notification extension: recorded, acknowledged beside the host's own work, and shown exactly once.

import BackstopBindings
import BackstopSupport
import Foundation

/// Generic over what is shown, so that it runs where Apple's classes are not.
package final class ExtensionRun<Content>: @unchecked Sendable {
    /// What the run is made of.
    package struct Parts {
        /// Whether the customer sees it; `nil` = the system does not answer.
        package var permission: @Sendable () async -> AlertPermission?
        /// Where acks go; `nil` = the extension is not set up.
        package var acknowledger: Acknowledger?
        /// The host's own work on what is shown: attachments, other words.
        package var prepare: (Content) async -> Content

        package init(
            permission: @escaping @Sendable () async -> AlertPermission?,
            acknowledger: Acknowledger?,
            prepare: @escaping (Content) async -> Content
        ) {
            self.permission = permission
            self.acknowledger = acknowledger
            self.prepare = prepare
        }
    }

    private let show: Once<Content>
    /// The best there is to show, should time run out.
    private let best: Locked<Content>
    private let work = Locked<Task<Void, Never>?>(nil)

    /// `show`: the system's content handler.
    package init(content: Content, show: @escaping (Content) -> Void) {
        self.show = Once(show)
        best = Locked(content)
    }

    /// Acknowledges the push and prepares what is shown, side by side. Whatever fails, it is shown.
    package func start(receipt: String, _ parts: Parts) {
        work.with { work in
            work = Task {
                async let acked: Void = Self.acknowledge(receipt, parts)
                let prepared = await parts.prepare(self.best.with { $0 })
                self.best.with { $0 = prepared }
                // The system may end the process once the content is handed over: the ack goes before.
                await acked
                self.show(prepared)
            }
        }
    }

    /// The system takes the time away: shows the best there is. An ack that was not sent waits on disk for the app.
    package func timeWillExpire() {
        show(best.with { $0 })
        work.with { $0 }?.cancel()
    }

    private static func acknowledge(_ receipt: String, _ parts: Parts) async {
        guard let acknowledger = parts.acknowledger else { return }
        await acknowledger.acknowledge(receipt, permission: await parts.permission())
    }
}

/// Records an ack as a file, then sends it within a short time.
package struct Acknowledger: Sendable {
    /// A push is shown this late at most because of its ack.
    package static let budget: TimeInterval = 5

    /// Whether it can send by itself; else acks wait for the app.
    package let hasCredentials: Bool
    private let library: Extension
    private let log: @Sendable (String) -> Void

    /// Opens no database and makes no request. Throws what the settings lack, in a sentence.
    package init(
        settings: ExtensionSettings,
        group: AppGroup,
        credentials: SharedCredentials?,
        log: @escaping @Sendable (String) -> Void
    ) throws {
        #if DEBUG
        let allowHttp = settings.allowHttp
        #else
        let allowHttp = false
        #endif
        self.log = log
        hasCredentials = credentials != nil
        // What cannot be made shows when an ack is recorded, which then goes out at once or never.
        try? group.prepare()
        library = try Extension.open(
            config: ExtensionConfig(
                baseUrl: settings.baseUrl,
                appKey: settings.appKey,
                sdk: "ios/\(try sdkVersion())",
                spoolDirectory: group.spool.path,
                credentials: credentials.map {
                    DeviceCredentials(deviceId: $0.deviceId, deviceKey: $0.deviceKey)
                },
                extraRootCertificates: settings.extraRootCertificates,
                allowHttp: allowHttp
            ))
    }

    /// Never throws: what fails is logged, and what was recorded goes later, from the app.
    package func acknowledge(_ receipt: String, permission: AlertPermission?) async {
        // The system runs an extension only for what it is about to show: settings that do not answer do not hide it
        // (P7).
        let why = permission?.suppressedBecause
        let grade: Grade = why == nil ? .displayed : .suppressed
        do {
            let cancel = try Cancel()
            try await withTaskCancellationHandler {
                try await recordAndSend(receipt, grade, why, cancel)
            } onCancel: {
                try? cancel.cancel()
            }
        } catch SdkError.Cancelled {
            // The time was over; the file is there.
        } catch {
            log("a push could not be acknowledged: \(Self.sentence(error))")
        }
    }

    /// The file first. On a full disk the ack goes out now or never.
    private func recordAndSend(_ receipt: String, _ grade: Grade, _ why: String?, _ cancel: Cancel) async throws {
        let budgetMs = UInt64(Self.budget * 1_000)
        let spooled: Spooled
        do {
            spooled = try library.record(receipt: receipt, grade: grade, why: why)
        } catch let full as SdkError {
            guard case .StorageFull = full else { throw full }
            let outcome = try await library.sendUnrecorded(
                receipt: receipt, grade: grade, why: why, budgetMs: budgetMs, cancel: cancel)
            guard outcome == nil else { return }
            throw full
        }
        _ = try await library.send(spooled: spooled, budgetMs: budgetMs, cancel: cancel)
    }

    private static func sentence(_ error: any Error) -> String {
        guard let error = error as? SdkError else { return error.localizedDescription }
        switch error {
        case .Invalid(_, let explanation), .StorageFull(let explanation), .StorageUnusable(let explanation),
            .NotRegistered(let explanation), .Unreachable(let explanation), .Refused(_, _, let explanation),
            .Disabled(let explanation), .Cancelled(let explanation):
            return explanation
        }
    }
}

/// Our push in a notification's `userInfo`; `nil` = it is somebody else's.
package func receipt(in userInfo: [AnyHashable: Any]) -> String? {
    guard let json = PayloadReader.json(of: userInfo), let push = try? parsePush(payload: json) else { return nil }
    return push.receipt
}
