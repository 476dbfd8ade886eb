// The SDK as a host app sees it: one per process.
package dev.backstop

import android.app.Activity
import android.content.Context
import android.content.Intent
import dev.backstop.engine.AndroidPhone
import dev.backstop.engine.Engine
import dev.backstop.engine.Phone
import dev.backstop.engine.log
import dev.backstop.internal.Client
import dev.backstop.internal.ClientConfig
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds

/**
 * A push that the phone acknowledges, or a text within 30 seconds.
 *
 * Call [initialize] in `Application.onCreate`; everything else may be called from any thread, at once, before or after
 * the customer logs in. Calls fail with a [BackstopException]; a cancelled coroutine ends its call at once, and what
 * the call had recorded stays recorded.
 */
@OptIn(InternalBackstopApi::class)
object Backstop {
    /** The key of Backstop's part of a push: in FCM's data, and among the extras of a tap's intent. */
    const val PAYLOAD_KEY = "backstop"

    /** What an Android message handler may take is about ten seconds. */
    private val handlerBudget = 8.seconds
    private val callBudget = 10.seconds

    private sealed interface State {
        object Idle : State

        class OtherProcess(val name: String) : State

        class Running(val config: BackstopConfig, val engine: Engine) : State
    }

    @Volatile
    private var state: State = State.Idle

    /**
     * Starts the SDK and returns at once; its storage is opened, and the device registered, in the background. The same
     * configuration again changes nothing; another one is logged as an error, and the first stays. In another process
     * than the app's main one the SDK stays off.
     */
    @JvmStatic
    fun initialize(context: Context, config: BackstopConfig) {
        val application = context.applicationContext ?: context
        val process = AndroidPhone.processName(application)
        if (process == application.applicationInfo.processName) {
            start(config, { AndroidPhone(application, config) }) { Client.open(it) }
        } else if (state is State.Idle) {
            state = State.OtherProcess(process)
            config.log(LogLevel.INFO, "off in the process $process: the app's main process does the work")
        }
    }

    /** As [initialize], on another phone: for Backstop's own testing module. */
    @InternalBackstopApi
    @Synchronized
    fun start(config: BackstopConfig, phone: () -> Phone, open: (ClientConfig) -> Client) {
        val running = state as? State.Running
        if (running == null || running.engine.cannotOpen) {
            running?.engine?.close()
            val engine = Engine(config, phone(), open)
            state = State.Running(config, engine)
            engine.start()
        } else if (running.config != config) {
            running.config.log(
                LogLevel.ERROR,
                "initialize was called again with another configuration, which is ignored: call it once, in " +
                    "Application.onCreate",
            )
        }
    }

    /** A customer logged in; [proof] comes from the company's backend. Kept on the device, then sent. */
    suspend fun logIn(customerId: String, proof: Proof, budget: Duration = callBudget): Flush =
        engine().logIn(customerId, proof, budget)

    /** The customer logged out: their pushes must not reach this device any more. Acks stay valid. */
    suspend fun logOut(budget: Duration = callBudget): Flush = engine().logOut(budget)

    /** Firebase gave a push token; the module `backstop-android-fcm` calls this. The same one again costs nothing. */
    suspend fun setPushToken(token: String, budget: Duration = callBudget): Flush =
        engine().setPushToken(token, budget)

    /** Whether a message's data is Backstop's. Never throws, needs no [initialize], touches nothing. */
    @JvmStatic
    fun handles(data: Map<String, String>): Boolean = Engine.parse(data[PAYLOAD_KEY]) != null

    /**
     * A message arrived: its acknowledgement is durable before it is shown, then sent within [budget], and later by
     * itself. What is not Backstop's is left alone. Whatever fails, a push of Backstop's is shown.
     */
    suspend fun handlePush(
        data: Map<String, String>,
        display: Display = Display.BACKSTOP,
        budget: Duration = handlerBudget,
    ): PushResult {
        val payload = data[PAYLOAD_KEY]
        val push = Engine.parse(payload) ?: return PushResult.NotOurs
        return engine().handlePush(payload.orEmpty(), push, display, budget)
    }

    /** The app showed a push that it took with [Display.LATER], or could not; [why] in one short word. */
    suspend fun acknowledge(push: Push, grade: Grade, why: String? = null, budget: Duration = callBudget): Ack =
        engine().acknowledge(push, grade, why, budget)

    /**
     * An activity was started by this intent: hands out the link once if it is a tap on a push of Backstop's. Call it
     * in `onCreate` and in `onNewIntent`. Works when the tap started the app, too.
     */
    suspend fun handleTap(intent: Intent?): TapResult {
        // Any app may start the host's activity, with extras that do not even unpack.
        return handleTap(runCatching { intent?.getStringExtra(PAYLOAD_KEY) }.getOrNull())
    }

    /** As [handleTap] with an intent, for notifications of the app's own: the value of the key [PAYLOAD_KEY]. */
    suspend fun handleTap(payload: String?): TapResult {
        val push = Engine.parse(payload) ?: return TapResult.NotOurs
        return engine().handleTap(payload.orEmpty(), push)
    }

    /** Sends what waits. The SDK does so at start, in front, and through WorkManager. */
    suspend fun flush(budget: Duration = callBudget): Flush = engine().flush(budget)

    /** What is known, without secrets. */
    suspend fun status(): Status = engine().status()

    /**
     * Switches the SDK off or on. Off: the server is asked to forget the device, everything on the device is deleted,
     * and nothing is kept or sent until it is switched on again. The choice survives restarts.
     */
    suspend fun setEnabled(enabled: Boolean, budget: Duration = callBudget) = engine().setEnabled(enabled, budget)

    /** Asks the server for a real push to this device, waits for it, and says in words what is missing. */
    suspend fun selfTest(budget: Duration = 20.seconds): SelfTest = engine().selfTest(budget)

    /** The customer did something: call it in `Activity.onUserInteraction`, so that a phone that lies idle is known. */
    @JvmStatic
    fun noteActivity() {
        (state as? State.Running)?.engine?.noteActivity()
    }

    /** Asks the customer whether notifications may be shown (Android 13 and newer). The answer is read by itself. */
    @JvmStatic
    fun requestNotificationPermission(activity: Activity) {
        // In another process than the main one there is nobody to ask for.
        if (state !is State.OtherProcess) engine().phone.askPermission(activity)
    }

    /** Ends everything and forgets the configuration: for tests. What is stored stays stored. */
    @JvmStatic
    @Synchronized
    fun close() {
        (state as? State.Running)?.engine?.close()
        state = State.Idle
    }

    @JvmStatic
    fun logIn(customerId: String, proof: Proof, callback: BackstopCallback<Flush>): BackstopCall =
        Engine.deliver(running(), callback) { logIn(customerId, proof) }

    @JvmStatic
    fun logOut(callback: BackstopCallback<Flush>): BackstopCall = Engine.deliver(running(), callback) { logOut() }

    @JvmStatic
    fun setPushToken(token: String, callback: BackstopCallback<Flush>): BackstopCall =
        Engine.deliver(running(), callback) { setPushToken(token) }

    @JvmStatic
    fun handlePush(data: Map<String, String>, display: Display, callback: BackstopCallback<PushResult>): BackstopCall =
        Engine.deliver(running(), callback) { handlePush(data, display) }

    @JvmStatic
    fun acknowledge(push: Push, grade: Grade, callback: BackstopCallback<Ack>): BackstopCall =
        Engine.deliver(running(), callback) { acknowledge(push, grade) }

    @JvmStatic
    fun handleTap(intent: Intent?, callback: BackstopCallback<TapResult>): BackstopCall =
        Engine.deliver(running(), callback) { handleTap(intent) }

    @JvmStatic
    fun flush(callback: BackstopCallback<Flush>): BackstopCall = Engine.deliver(running(), callback) { flush() }

    @JvmStatic
    fun status(callback: BackstopCallback<Status>): BackstopCall = Engine.deliver(running(), callback) { status() }

    @JvmStatic
    fun setEnabled(enabled: Boolean, callback: BackstopCallback<Unit>): BackstopCall =
        Engine.deliver(running(), callback) { setEnabled(enabled) }

    @JvmStatic
    fun selfTest(callback: BackstopCallback<SelfTest>): BackstopCall =
        Engine.deliver(running(), callback) { selfTest() }

    private fun running(): Engine? = (state as? State.Running)?.engine

    private fun engine(): Engine = when (val state = state) {
        is State.Running -> state.engine
        is State.OtherProcess ->
            throw BackstopException.NotInitialized("Backstop works in the app's main process, not in ${state.name}")
        State.Idle ->
            throw BackstopException.NotInitialized("call Backstop.initialize first, in Application.onCreate")
    }

    /** What the flush worker does, if the SDK was started. */
    @InternalBackstopApi
    suspend fun flushInBackground() {
        running()?.flushInBackground()
    }
}
