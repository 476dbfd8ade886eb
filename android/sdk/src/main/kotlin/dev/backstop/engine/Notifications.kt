// Whether the customer would see a push, and the notification that shows it.
package dev.backstop.engine

import android.Manifest
import android.app.Activity
import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.PendingIntent
import android.content.Context
import android.content.Intent
import android.content.pm.PackageManager
import android.graphics.drawable.AdaptiveIconDrawable
import android.os.Build
import dev.backstop.Backstop
import dev.backstop.BackstopConfig
import dev.backstop.InternalBackstopApi
import dev.backstop.Push
import java.io.File

@InternalBackstopApi
internal class Notifications(private val context: Context, private val config: BackstopConfig) {
    private val manager: NotificationManager? = context.getSystemService(NotificationManager::class.java)

    fun visibility(): Visibility {
        val manager = manager ?: return Visibility.DENIED
        if (!manager.areNotificationsEnabled()) return if (mayStillAsk()) Visibility.NOT_ASKED else Visibility.DENIED
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.O) return Visibility.SHOWN
        // Not made yet: it will be, and shows what comes.
        val channel = manager.getNotificationChannel(config.channel.id) ?: return Visibility.SHOWN
        return when {
            channel.importance == NotificationManager.IMPORTANCE_NONE || isGroupOff(channel) -> Visibility.CHANNEL_OFF
            channel.importance < NotificationManager.IMPORTANCE_DEFAULT -> Visibility.QUIET
            else -> Visibility.SHOWN
        }
    }

    fun show(push: Push, payload: String) {
        val manager = checkNotNull(manager)
        // One notification for each conversation's newest replies: the key is the server's.
        val tag = push.collapseKey.ifEmpty { push.followupId }
        manager.notify(tag, NOTIFICATION_ID, builder().also { builder ->
            builder.setSmallIcon(config.channel.smallIcon.takeIf { it != 0 } ?: defaultIcon())
                .setContentTitle(push.title.ifEmpty { context.applicationInfo.loadLabel(context.packageManager) })
                .setContentText(push.body)
                .setStyle(Notification.BigTextStyle().bigText(push.body))
                .setCategory(Notification.CATEGORY_MESSAGE)
                .setAutoCancel(true)
            tap(push, payload)?.let(builder::setContentIntent)
        }.build())
    }

    /** The customer was asked, or has answered: from now on a missing permission is a no. */
    fun noteAsked(activity: Activity? = null) {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.TIRAMISU) return
        // The system shows a rationale only after a first no.
        if (activity?.shouldShowRequestPermissionRationale(Manifest.permission.POST_NOTIFICATIONS) == false) return
        runCatching { asked().createNewFile() }
    }

    private fun mayStillAsk(): Boolean {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.TIRAMISU) return false
        val granted = context.checkSelfPermission(Manifest.permission.POST_NOTIFICATIONS)
        return granted != PackageManager.PERMISSION_GRANTED && !asked().exists()
    }

    // A restored phone asks again, so the note is kept out of backups.
    private fun asked() = File(context.noBackupFilesDir, "backstop-asked")

    private fun isGroupOff(channel: NotificationChannel): Boolean {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.P) return false
        return channel.group?.let { manager?.getNotificationChannelGroup(it)?.isBlocked } ?: false
    }

    @Suppress("DEPRECATION") // The only way before Android 8.
    private fun builder(): Notification.Builder {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.O) {
            return Notification.Builder(context)
                .setPriority(Notification.PRIORITY_HIGH)
                .setDefaults(Notification.DEFAULT_ALL)
        }
        if (manager?.getNotificationChannel(config.channel.id) == null) {
            val high = NotificationManager.IMPORTANCE_HIGH
            manager?.createNotificationChannel(NotificationChannel(config.channel.id, config.channel.name, high))
        }
        return Notification.Builder(context, config.channel.id)
    }

    /** The app's own. Android 8.0 takes no adaptive one: its status bar crashes, again and again. */
    private fun defaultIcon(): Int {
        val own = context.applicationInfo.icon
        if (own == 0) return android.R.drawable.stat_notify_chat
        if (Build.VERSION.SDK_INT != Build.VERSION_CODES.O) return own
        val isAdaptive = runCatching { context.getDrawable(own) is AdaptiveIconDrawable }.getOrDefault(true)
        return if (isAdaptive) android.R.drawable.stat_notify_chat else own
    }

    /**
     * Starts the app as its icon does, with the payload on board: an activity, since nothing else may start one. The
     * action tells each push from the others; else Android takes a second tap for the first and hands nothing over.
     */
    private fun tap(push: Push, payload: String): PendingIntent? {
        val start = context.packageManager.getLaunchIntentForPackage(context.packageName) ?: return null
        start.putExtra(Backstop.PAYLOAD_KEY, payload).addFlags(Intent.FLAG_ACTIVITY_SINGLE_TOP)
        start.action = "dev.backstop.TAP.${push.receipt.hashCode()}"
        val flags = PendingIntent.FLAG_IMMUTABLE or PendingIntent.FLAG_UPDATE_CURRENT
        return PendingIntent.getActivity(context, push.receipt.hashCode(), start, flags)
    }

    private companion object {
        const val NOTIFICATION_ID = 0xBAC
    }
}
