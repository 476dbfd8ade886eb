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
    private var started = 0
    private var turning = false

    override fun onActivityStarted(activity: Activity) {
        started++
        if (started == 1 && !turning) listener.cameToFront()
        turning = false
    }

    override fun onActivityResumed(activity: Activity) {
        seen(activity)
        listener.resumed()
    }

    override fun onActivityStopped(activity: Activity) {
        // An activity that was started before `initialize` was never counted.
        if (started == 0) return
        started--
        turning = started == 0 && activity.isChangingConfigurations
        if (started == 0 && !turning) listener.left()
    }

    override fun onActivityCreated(activity: Activity, state: Bundle?) = Unit

    override fun onActivityPaused(activity: Activity) = Unit

    override fun onActivitySaveInstanceState(activity: Activity, state: Bundle) = Unit

    override fun onActivityDestroyed(activity: Activity) = Unit
}
