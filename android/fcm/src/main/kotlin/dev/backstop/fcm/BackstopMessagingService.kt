// Firebase's messages on their way to Backstop: a ready service, and helpers for apps that have one of their own.
package dev.backstop.fcm

import android.content.Context
import android.util.Log
import com.google.firebase.messaging.FirebaseMessagingService
import com.google.firebase.messaging.RemoteMessage
import dev.backstop.Backstop
import dev.backstop.BackstopException
import dev.backstop.Display
import kotlin.concurrent.thread
import kotlinx.coroutines.runBlocking

/**
 * Takes Backstop's messages. Its manifest entry has priority −1: a messaging service of the app's own gets them
 * instead, and hands them over with [onNewToken] and [onMessageReceived].
 */
open class BackstopMessagingService : FirebaseMessagingService() {
    override fun onNewToken(token: String) = onNewToken(this, token)

    override fun onMessageReceived(message: RemoteMessage) {
        onMessageReceived(this, message)
    }

    companion object {
        /** Whether a message's data is Backstop's. */
        @JvmStatic
        fun handles(data: Map<String, String>): Boolean = Backstop.handles(data)

        /** Firebase gave a token: kept, and sent in the background. [context] any. */
        @JvmStatic
        @Suppress("UNUSED_PARAMETER") // The shape that every push SDK's helper has.
        fun onNewToken(context: Context, token: String) {
            // Firebase calls on a thread that may be the main one.
            thread(name = "backstop-token") { logged("a push token") { Backstop.setPushToken(token) } }
        }

        /**
         * Firebase gave a message: `true` = it was Backstop's, is acknowledged, and is shown as [display] says; `false`
         * = handle it as before. Takes at most about eight seconds, as long as Firebase's own thread may be held. Call
         * it from `onMessageReceived`. [context] any.
         */
        @JvmStatic
        @JvmOverloads
        @Suppress("UNUSED_PARAMETER")
        fun onMessageReceived(context: Context, message: RemoteMessage, display: Display = Display.BACKSTOP): Boolean {
            if (!handles(message.data)) return false
            logged("a push") { Backstop.handlePush(message.data, display) }
            return true
        }

        private fun logged(what: String, call: suspend () -> Any?) {
            try {
                runBlocking { call() }
            } catch (error: BackstopException) {
                // Before `initialize` there is no log of the app's own.
                Log.e("Backstop", "$what was not taken: ${error.message}")
            } catch (error: RuntimeException) {
                // Nothing of ours ends the app on a thread of Firebase's.
                Log.e("Backstop", "$what was not taken: a defect of the SDK: ${error.javaClass.simpleName}")
            }
        }
    }
}
