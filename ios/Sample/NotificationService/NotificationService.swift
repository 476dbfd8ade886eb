// The whole notification service extension.

import BackstopNotificationService

class NotificationService: BackstopNotificationService {}
