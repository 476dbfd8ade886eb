// Fetches the token that Firebase has, at every start: an app that just added Backstop gets no `onNewToken`.
package dev.backstop.fcm

import android.content.Context
import com.google.android.gms.common.GoogleApiAvailabilityLight
import com.google.firebase.messaging.FirebaseMessaging
import dev.backstop.InternalBackstopApi
import dev.backstop.engine.PushTokenSource

/** Found by `ServiceLoader`. */
@InternalBackstopApi
class FirebaseTokenSource : PushTokenSource {
    override fun fetch(onToken: (String?) -> Unit) {
        val messaging = firebase() ?: return onToken(null)
        messaging.token.addOnCompleteListener { task -> onToken(if (task.isSuccessful) task.result else null) }
    }

    override fun problem(context: Context): String {
        val play = GoogleApiAvailabilityLight.getInstance()
        val code = play.isGooglePlayServicesAvailable(context)
        return when {
            code != 0 -> "Google Play services: ${play.getErrorString(code)}"
            firebase() == null -> "Firebase is not set up: google-services.json is missing"
            else -> ""
        }
    }

    private fun firebase(): FirebaseMessaging? = try {
        FirebaseMessaging.getInstance()
    } catch (_: IllegalStateException) {
        null
    }
}
