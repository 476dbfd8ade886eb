// An app with Backstop on a phone that is not there: `Backstop` works as on a phone, in a plain JVM test.
package dev.backstop.testing

import android.app.Activity
import dev.backstop.Alerts
import dev.backstop.Backstop
import dev.backstop.BackstopConfig
import dev.backstop.Flush
import dev.backstop.InternalBackstopApi
import dev.backstop.Push
import dev.backstop.PushResult
import dev.backstop.engine.FrontListener
import dev.backstop.engine.Phone
import dev.backstop.engine.Visibility
import dev.backstop.internal.Client
import dev.backstop.testing.internal.openForTesting
import java.io.File
import java.nio.file.Files
import java.util.concurrent.CopyOnWriteArrayList
import kotlin.time.Duration
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking

/** What a test may set of a phone, all with defaults. */
class TestPhoneSettings {
    /** Firebase's token for the app; `null` = Firebase is not there. */
    var token: String? = "token-of-a-test"

    /** Whether notifications are shown. */
    var alerts: Alerts = Alerts.ALLOWED

    /** Whether the notification channel is switched on. */
    var channelOn: Boolean = true

    /** Whether the system lets the app work in the background. */
    var backgroundAllowed: Boolean = true

    /** What is wrong with Firebase; empty = nothing. */
    var pushServiceProblem: String = ""

    /** Whether the phone was unlocked since its start. */
    var unlocked: Boolean = true

    /** Whether the app is a debug build. */
    var debuggable: Boolean = true

    /** Where the app keeps things; `null` = a directory that goes with the phone. To start the app again, keep one. */
    var directory: File? = null

    /** Makes the configuration; by default the log goes to the test's output, since Android's is not there. */
    var config: (baseUrl: String, appKey: String) -> BackstopConfig = { baseUrl, appKey ->
        BackstopConfig(baseUrl, appKey, logger = { level, message -> println("Backstop $level: $message") })
    }
}

/**
 * A phone with the app on it, started: what [Backstop.initialize] does on a real one has been done. There is one at a
 * time, as there is one `Backstop`; [close] stops the app.
 */
@OptIn(InternalBackstopApi::class)
class TestPhone private constructor(
    private val settings: TestPhoneSettings,
    private val sandbox: Sandbox?,
    private val clock: VirtualClock,
) : AutoCloseable {
    private val home = settings.directory ?: Files.createTempDirectory("backstop-phone").toFile()
    private val delivered = mutableSetOf<String>()
    private val phone = FakePhone()

    /** Pushes that the customer sees, oldest first. */
    val shown: List<Push> get() = phone.shown

    /** What the system was asked to do later: a flush after each of these times. */
    val scheduled: List<Duration> get() = phone.scheduled

    /** The customer, or the system, changes something. */
    fun change(change: TestPhoneSettings.() -> Unit) {
        settings.change()
        phone.isUnlocked.value = settings.unlocked
    }

    /** The customer logs in, with the proof that the sandbox's company hands out. */
    suspend fun logIn(customerId: String): Flush =
        Backstop.logIn(customerId, checkNotNull(sandbox) { "log in through Backstop.logIn" }.proof(customerId))

    /** Hands every push that left for this phone, and was not yet, to the app: as Firebase does. */
    suspend fun receivePushes(): List<PushResult> = checkNotNull(sandbox) { "hand a simulatePush to Backstop" }.pushes()
        .filter { it.to == settings.token && delivered.add(it.payload) }
        .map { Backstop.handlePush(it.data) }

    /** The customer opens the app. */
    fun cameToFront() = phone.listener?.run { cameToFront(); resumed() }

    /** The customer leaves the app. */
    fun left() = phone.listener?.left()

    /** The system finds time for what was scheduled. */
    suspend fun runScheduled() {
        phone.scheduled.clear()
        Backstop.flushInBackground()
    }

    /** Stops the app. What it kept stays, if the settings named a directory. */
    override fun close() {
        Backstop.close()
        if (settings.directory == null) home.deleteRecursively()
    }

    companion object {
        init {
            TestLibrary.use()
        }

        /** A phone whose app talks to that sandbox. */
        @JvmStatic
        fun on(sandbox: Sandbox, settings: TestPhoneSettings.() -> Unit = {}): TestPhone {
            val set = TestPhoneSettings().apply(settings)
            return start(TestPhone(set, sandbox, VirtualClock()), set.config(sandbox.baseUrl, sandbox.appKey)) {
                Client.open(it)
            }
        }

        /** A phone whose app is on that network. */
        @JvmStatic
        fun on(
            network: FakeNetwork,
            clock: VirtualClock = VirtualClock(),
            settings: TestPhoneSettings.() -> Unit = {},
        ): TestPhone {
            val set = TestPhoneSettings().apply(settings)
            return start(TestPhone(set, null, clock), set.config("https://backstop.test", "app_test")) {
                openForTesting(it, network.network, clock.clock)
            }
        }

        private fun start(
            phone: TestPhone,
            config: BackstopConfig,
            open: (dev.backstop.internal.ClientConfig) -> Client,
        ): TestPhone {
            Backstop.close()
            phone.phone.isUnlocked.value = phone.settings.unlocked
            Backstop.start(config, { phone.phone }, open)
            // The app registers at its start; a test waits until it has.
            val token = phone.settings.token
            if (phone.settings.unlocked && token != null) {
                runBlocking { runCatching { Backstop.setPushToken(token) } }
            }
            return phone
        }
    }

    private inner class FakePhone : Phone {
        val shown = CopyOnWriteArrayList<Push>()
        val scheduled = CopyOnWriteArrayList<Duration>()
        val isUnlocked = MutableStateFlow(true)

        @Volatile
        var listener: FrontListener? = null

        override val debuggable get() = settings.debuggable
        override val applicationId = "dev.backstop.test"
        override val locale = "en-GB"
        override val directory get() = if (isUnlocked.value) File(home, "backstop").path else null

        override suspend fun unlocked() {
            isUnlocked.first { it }
        }

        override fun visibility() = when {
            !settings.channelOn -> Visibility.CHANNEL_OFF
            else -> when (settings.alerts) {
                Alerts.ALLOWED -> Visibility.SHOWN
                Alerts.QUIET -> Visibility.QUIET
                Alerts.DENIED -> Visibility.DENIED
                Alerts.NOT_ASKED -> Visibility.NOT_ASKED
            }
        }

        override fun show(push: Push, payload: String) = shown.add(push)

        override fun schedule(after: Duration) {
            scheduled += after
        }

        override fun unschedule() = scheduled.clear()

        override fun watch(listener: FrontListener) {
            this.listener = listener
        }

        override fun unwatch() {
            listener = null
        }

        override suspend fun pushToken() = settings.token

        override fun pushServiceProblem() = settings.pushServiceProblem

        override fun backgroundAllowed() = settings.backgroundAllowed

        override fun askPermission(activity: Activity) = Unit

        override fun elapsedMs() = clock.elapsedMs

        override suspend fun pause(duration: Duration) = clock.pause(duration)

        override fun onMain(block: () -> Unit) = block()
    }
}
