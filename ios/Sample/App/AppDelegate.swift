// The smallest app that acknowledges pushes: it asks for permission, registers, and prints a self-test.

import Backstop
import UIKit
import UserNotifications

@main
final class AppDelegate: UIResponder, UIApplicationDelegate {
    func application(
        _ application: UIApplication,
        didFinishLaunchingWithOptions launchOptions: [UIApplication.LaunchOptionsKey: Any]?
    ) -> Bool {
        // The sandbox of `backstop serve --sandbox`, as the simulator reaches it.
        Backstop.initialize(BackstopConfig(baseUrl: "http://127.0.0.1:8080", appKey: "app_sandbox"))
        Backstop.installNotificationDelegate { link in
            print("the customer wants to go to \(link)")
        }
        UNUserNotificationCenter.current().requestAuthorization(options: [.alert, .sound]) { _, _ in
            Task { @MainActor in
                UIApplication.shared.registerForRemoteNotifications()
            }
        }
        return true
    }

    func application(
        _ application: UIApplication,
        didRegisterForRemoteNotificationsWithDeviceToken deviceToken: Data
    ) {
        Task {
            try await Backstop.setPushToken(deviceToken)
            print(try await Backstop.selfTest())
        }
    }
}
