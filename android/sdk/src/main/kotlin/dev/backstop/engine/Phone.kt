// What the engine needs of the phone: Android in apps, a stand-in in unit tests.
package dev.backstop.engine

import android.app.Activity
import android.util.Log
import dev.backstop.Alerts
import dev.backstop.BackstopConfig
import dev.backstop.InternalBackstopApi
import dev.backstop.LogLevel
import dev.backstop.Push
import kotlin.time.Duration

/** The phone, as far as the SDK touches it. */
@InternalBackstopApi
interface Phone {
    /** Whether the app is a debug build. */
    val debuggable: Boolean

    /** The app's own name. */
    val applicationId: String

    /** BCP 47, of the texts that the customer reads. */
    val locale: String?

    /** Where the SDK may keep things; `null` = not yet, the phone was not unlocked since its start. */
    val directory: String?

    /** Returns when [directory] is there. */
    suspend fun unlocked()

    /** Whether the customer would see a push. */
    fun visibility(): Visibility

    /** Posts a notification whose tap carries the payload; `false` = the system would not take it. */
    fun show(push: Push, payload: String): Boolean

    /**
     * Has the system call [dev.backstop.Backstop.flushInBackground] after that time, once there is a network.
     */
    fun schedule(after: Duration)

    /** Takes back what was scheduled. */
    fun unschedule()

    /** Tells the listener from now on when the app comes to the front and leaves it. */
    fun watch(listener: FrontListener)

    /** Ends [watch]. */
    fun unwatch()

    /** The push token, if a module can fetch it; `null` = none, or not now. */
    suspend fun pushToken(): String?

    /** What is wrong with the push service; empty = nothing, `null` = nobody can tell. */
    fun pushServiceProblem(): String?

    /** Whether the system lets the app work in the background. */
    fun backgroundAllowed(): Boolean?

    /** Asks for the permission to show notifications. */
    fun askPermission(activity: Activity)

    /** Time since some moment, which goes on while the phone sleeps. */
    fun elapsedMs(): Long

    /** Lets that much time pass. */
    suspend fun pause(duration: Duration)

    /** Runs something on the main thread. */
    fun onMain(block: () -> Unit)
}

/** Hears when the app comes to the front and leaves it. */
@InternalBackstopApi
interface FrontListener {
    /** The app came to the front. */
    fun cameToFront()

    /** An activity has the customer's attention again, maybe after a question of the system's. */
    fun resumed()

    /** The app went to the background. */
    fun left()
}

/** Whether the customer would see a push; what the server hears of it, and why a push is `suppressed`. */
@InternalBackstopApi
enum class Visibility(internal val alerts: Alerts, internal val why: String?) {
    SHOWN(Alerts.ALLOWED, null),
    QUIET(Alerts.QUIET, null),
    DENIED(Alerts.DENIED, "alerts_denied"),
    NOT_ASKED(Alerts.NOT_ASKED, "alerts_not_asked"),
    CHANNEL_OFF(Alerts.DENIED, "channel_off"),
}

/** Fetches the push token at start: found by `ServiceLoader`, so that the SDK does not know Firebase. */
@InternalBackstopApi
interface PushTokenSource {
    /** Calls back once, with `null` if there is none now. */
    fun fetch(onToken: (String?) -> Unit)

    /** What is wrong with the push service; empty = nothing. */
    fun problem(context: android.content.Context): String
}

/** Writes one line to the host's sink or the system's log. */
internal fun BackstopConfig.log(level: LogLevel, message: String) {
    if (level == LogLevel.NONE || level > logLevel) return
    val sink = logger
    when {
        // A sink that fails must not take a push with it.
        sink != null -> runCatching { sink.log(level, message) }
        level == LogLevel.ERROR -> Log.e("Backstop", message)
        level == LogLevel.WARN -> Log.w("Backstop", message)
        level == LogLevel.INFO -> Log.i("Backstop", message)
        else -> Log.d("Backstop", message)
    }
}
