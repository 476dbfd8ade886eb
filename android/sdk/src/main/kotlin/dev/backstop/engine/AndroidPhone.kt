// The phone that the app runs on.
package dev.backstop.engine

import android.Manifest
import android.app.Activity
import android.app.ActivityManager
import android.app.Application
import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.content.pm.ApplicationInfo
import android.os.Build
import android.os.Handler
import android.os.Looper
import android.os.SystemClock
import android.os.UserManager
import dev.backstop.BackstopConfig
import dev.backstop.InternalBackstopApi
import dev.backstop.LogLevel
import dev.backstop.Push
import java.io.File
import java.util.ServiceLoader
import kotlin.coroutines.resume
import kotlin.time.Duration
import kotlinx.coroutines.delay
import kotlinx.coroutines.suspendCancellableCoroutine
import kotlinx.coroutines.withTimeoutOrNull

/** Android, through its own framework: no support library but WorkManager. */
@InternalBackstopApi
internal class AndroidPhone(private val context: Context, private val config: BackstopConfig) : Phone {
    private val notifications = Notifications(context, config)
    private val scheduler = FlushScheduler(context, config)
    private val tokenSource: PushTokenSource? by lazy {
        ServiceLoader.load(PushTokenSource::class.java, PushTokenSource::class.java.classLoader).firstOrNull()
    }
    private var front: FrontWatch? = null

    override val debuggable = context.applicationInfo.flags and ApplicationInfo.FLAG_DEBUGGABLE != 0
    override val applicationId: String = context.packageName
    override val locale: String? = context.resources.configuration.locales[0]?.toLanguageTag()

    // Never part of a backup: a clone of the app must register as itself.
    override val directory: String?
        get() = if (isUnlocked()) File(context.noBackupFilesDir, "backstop").path else null

    override suspend fun unlocked() {
        if (isUnlocked()) return
        config.log(LogLevel.INFO, "the phone was not unlocked since its start: waiting for it")
        suspendCancellableCoroutine { continuation ->
            val receiver = object : BroadcastReceiver() {
                override fun onReceive(context: Context, intent: Intent) {
                    context.unregisterReceiver(this)
                    if (continuation.isActive) continuation.resume(Unit)
                }
            }
            // Sent by the system alone, so it needs no flag that says who may send it.
            context.registerReceiver(receiver, IntentFilter(Intent.ACTION_USER_UNLOCKED))
            continuation.invokeOnCancellation { context.unregisterReceiver(receiver) }
        }
    }

    override fun visibility() = notifications.visibility()

    override fun show(push: Push, payload: String) = try {
        notifications.show(push, payload)
        true
    } catch (error: RuntimeException) {
        // A missing icon, a channel that the app deleted, a system without notifications.
        config.log(LogLevel.ERROR, "a push could not be shown: ${error.javaClass.simpleName}; look at BackstopChannel")
        false
    }

    override fun schedule(after: Duration) = scheduler.schedule(after)

    override fun unschedule() = scheduler.unschedule()

    override fun watch(listener: FrontListener) {
        val watch = FrontWatch(listener) { notifications.noteAsked(it) }
        front = watch
        application()?.registerActivityLifecycleCallbacks(watch)
            ?: config.log(LogLevel.ERROR, "initialize got no application: call it in onCreate")
    }

    override fun unwatch() {
        front?.let { application()?.unregisterActivityLifecycleCallbacks(it) }
        front = null
    }

    override suspend fun pushToken(): String? = withTimeoutOrNull(TOKEN_WAIT_MS) {
        suspendCancellableCoroutine { continuation ->
            val take = { token: String? -> if (continuation.isActive) continuation.resume(token) }
            tokenSource?.fetch(take) ?: take(null)
        }
    }

    override fun pushServiceProblem(): String? = tokenSource?.problem(context)

    override fun backgroundAllowed(): Boolean? {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.P) return null
        return context.getSystemService(ActivityManager::class.java)?.isBackgroundRestricted?.not()
    }

    override fun askPermission(activity: Activity) {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.TIRAMISU) return
        notifications.noteAsked()
        activity.requestPermissions(arrayOf(Manifest.permission.POST_NOTIFICATIONS), PERMISSION_REQUEST)
    }

    override fun elapsedMs() = SystemClock.elapsedRealtime()

    override suspend fun pause(duration: Duration) = delay(duration)

    override fun onMain(block: () -> Unit) {
        Handler(Looper.getMainLooper()).post(block)
    }

    private fun application() = context as? Application ?: context.applicationContext as? Application

    private fun isUnlocked() = context.getSystemService(UserManager::class.java)?.isUserUnlocked ?: true

    internal companion object {
        private const val TOKEN_WAIT_MS = 20_000L
        private const val PERMISSION_REQUEST = 0xBAC

        internal fun processName(context: Context): String {
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.P) return Application.getProcessName()
            val line = runCatching { File("/proc/self/cmdline").readText().substringBefore('\u0000').trim() }
            return line.getOrNull()?.ifEmpty { null } ?: context.applicationInfo.processName
        }
    }
}
