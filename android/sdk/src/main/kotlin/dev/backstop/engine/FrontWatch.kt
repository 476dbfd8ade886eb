// Knows whether the customer has the app in front, by what the system tells of its activities.
package dev.backstop.engine

import android.app.Activity
import android.app.Application
import android.os.Bundle
import dev.backstop.InternalBackstopApi

/** In front = at least one activity is started. Turning the phone is not leaving the app. */
@InternalBackstopApi
internal class FrontWatch(
    private val listener: FrontListener,
    private val seen: (Activity) -> Unit,
) : Application.ActivityLifecycleCallbacks {
    // By themselves, not by their number: one that was started before `initialize` is in nobody's count.
    private val started = HashSet<Activity>()
    private var turning = false

    override fun onActivityStarted(activity: Activity) {
        val wasEmpty = started.isEmpty()
        started += activity
        if (wasEmpty && !turning) listener.cameToFront()
        turning = false
    }

    override fun onActivityResumed(activity: Activity) {
        seen(activity)
        listener.resumed()
    }

    override fun onActivityStopped(activity: Activity) {
        if (!started.remove(activity) || started.isNotEmpty()) return
        turning = activity.isChangingConfigurations
        if (!turning) listener.left()
    }

    override fun onActivityCreated(activity: Activity, state: Bundle?) = Unit

    override fun onActivityPaused(activity: Activity) = Unit

    override fun onActivitySaveInstanceState(activity: Activity, state: Bundle) = Unit

    override fun onActivityDestroyed(activity: Activity) = Unit
}
