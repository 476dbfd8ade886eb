// The SDK on Android's own framework: lifecycle, permission, channels, notifications, WorkManager, Firebase's service.
package dev.backstop.cases

import android.Manifest
import android.app.Activity
import android.app.Application
import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.content.Context
import android.content.Intent
import android.content.pm.ApplicationInfo
import android.os.Looper
import androidx.work.ExistingWorkPolicy
import androidx.work.OneTimeWorkRequest
import androidx.work.Operation
import androidx.work.WorkManager
import com.google.android.gms.tasks.OnCompleteListener
import com.google.android.gms.tasks.Task
import com.google.firebase.messaging.FirebaseMessaging
import com.google.firebase.messaging.RemoteMessage
import dev.backstop.Ack
import dev.backstop.Alerts
import dev.backstop.Backstop
import dev.backstop.BackstopCallback
import dev.backstop.BackstopConfig
import dev.backstop.BackstopException
import dev.backstop.Customer
import dev.backstop.Finding
import dev.backstop.LogLevel
import dev.backstop.Registration
import dev.backstop.Status
import dev.backstop.TapResult
import dev.backstop.fcm.BackstopMessagingService
import dev.backstop.testing.Sandbox
import dev.backstop.testing.simulatePush
import java.util.concurrent.CopyOnWriteArrayList
import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import kotlinx.coroutines.yield
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config

@RunWith(RobolectricTestRunner::class)
@Config(sdk = [35])
class AndroidCases {
    private val app: Application get() = RuntimeEnvironment.getApplication()
    private val notifications: NotificationManager get() = app.getSystemService(NotificationManager::class.java)!!
    private val work = FakeWork()
    private val log = Log()

    @Before
    fun phone() {
        // Nothing of the testing package need come first here.
        System.setProperty("uniffi.component.backstop_ffi.libraryOverride", "backstop_ffi_testing")
        WorkManager.instance = work
        FirebaseMessaging.token = Token("token-of-firebase")
        allow(true)
        shadowOf(app.packageManager).addActivityIfNotPresent(LAUNCHER(app))
        shadowOf(app.packageManager).addIntentFilterForActivity(LAUNCHER(app), LAUNCHED)
        app.applicationInfo.icon = android.R.drawable.ic_dialog_email
    }

    @After
    fun close() = Backstop.close()

    /** The README's lines: compiled, and run against the sandbox. */
    @Test
    fun quickStartCompiles() = android {
        val shop = ShopApp()
        attach(shop)
        shop.onCreate()
        val activity = Robolectric.buildActivity(Activity::class.java, tapped("https://example.com/1")).get()
        val opened = mutableListOf<String>()
        activity.quickStart("ann", HASH_OF_ANN) { opened += it }
        assertEquals(listOf("https://example.com/1"), opened)
        // The token comes from Firebase, when it comes.
        while (Backstop.status().customer != Customer.BOUND) yield()
        assertTrue(Backstop.status().registration is Registration.Confirmed)
    }

    /** An app that just added Backstop gets no `onNewToken`: the token is fetched, and refreshed. */
    @Test
    fun firebasesTokenRegisters() = android {
        started { sandbox ->
            until { runBlocking { Backstop.status() }.registration is Registration.Confirmed }
            val device = Backstop.status().deviceId
            BackstopMessagingService.onNewToken(app, "another-token")
            Backstop.logIn("ann", sandbox.proof("ann"))
            while ("\"another-token\"" !in Backstop.flush().let { sandbox.pushTo("ann") }) yield()
            assertEquals(device, Backstop.status().deviceId)
        }
    }

    private suspend fun Sandbox.pushTo(customer: String): String {
        reply(customer, "Hello")
        return pushes().joinToString { "\"${it.to}\"" }
    }

    /** P7: shown in the channel, acknowledged; the tap comes back with the payload. The host's own are left alone. */
    @Test
    fun messageIsShownAndTapped() = android {
        started { sandbox ->
            sandbox.putCustomer("ann")
            Backstop.logIn("ann", sandbox.proof("ann"))
            val followup = sandbox.reply("ann", "Your parcel is on its way", link = "https://example.com/1")
            val message = RemoteMessage(sandbox.pushes().single().data)
            assertTrue(BackstopMessagingService.handles(message.data))
            assertTrue(BackstopMessagingService.onMessageReceived(app, message))
            assertEquals("acked", sandbox.followup(followup).state)
            val shown = shadowOf(notifications).allNotifications.single()
            assertEquals("Your parcel is on its way", "${shown.extras.getCharSequence(Notification.EXTRA_TEXT)}")
            assertEquals("backstop", shown.channelId)
            val channel = notifications.getNotificationChannel("backstop")
            assertEquals(NotificationManager.IMPORTANCE_HIGH, channel.importance)
            assertTrue(shown.contentIntent.isImmutable)
            val tap = Backstop.handleTap(shadowOf(shown.contentIntent).savedIntent)
            assertEquals("https://example.com/1", (tap as TapResult.Ours).link)
            assertFalse(BackstopMessagingService.onMessageReceived(app, RemoteMessage(mapOf("theirs" to "1"))))
            assertEquals(1, shadowOf(notifications).allNotifications.size)
        }
    }

    /** P7: what the customer would see decides the grade, and what the server hears. */
    @Test
    fun settingsDecideTheGrade() = android {
        started {
            assertEquals(Alerts.ALLOWED, told())
            notifications.createNotificationChannel(channel(NotificationManager.IMPORTANCE_LOW))
            assertEquals(Alerts.QUIET, told())
            assertTrue(Backstop.handlePush(simulatePush()).ours().shown)
            notifications.deleteNotificationChannel("backstop")
            notifications.createNotificationChannel(channel(NotificationManager.IMPORTANCE_NONE))
            assertEquals(Alerts.DENIED, told())
            assertFalse(Backstop.handlePush(simulatePush()).ours().shown)
            assertEquals(Finding.Level.FAILED, Backstop.selfTest(SHORT).findings.first { it.check == "channel" }.level)
            allow(false)
            assertEquals(Alerts.NOT_ASKED, told())
            val activity = Robolectric.buildActivity(Activity::class.java).get()
            Backstop.requestNotificationPermission(activity)
            assertEquals(
                listOf(Manifest.permission.POST_NOTIFICATIONS),
                shadowOf(activity).lastRequestedPermission.requestedPermissions.toList(),
            )
            assertEquals(Alerts.DENIED, told())
            assertFalse(Backstop.handlePush(simulatePush()).ours().shown)
        }
    }

    /** D3, D4: the customer is in the app, turns the phone, leaves. */
    @Test
    fun presenceFollowsTheActivities() = android {
        started { sandbox ->
            sandbox.putCustomer("ann")
            Backstop.logIn("ann", sandbox.proof("ann"))
            val activity = Robolectric.buildActivity(Activity::class.java).setup()
            while (!sandbox.isWatching("in-front")) yield()
            activity.configurationChange(turned())
            assertTrue(sandbox.isWatching("turned"))
            activity.pause().stop()
            while (sandbox.isWatching("left")) yield()
        }
    }

    private var messages = 0

    private suspend fun Sandbox.isWatching(why: String) = "customer_online" in request(
        "POST",
        "/v1/messages",
        """{"message_id":"$why-${messages++}","conversation_id":"chat-ann","customer_id":"ann","kind":"reply",
            "author":{"name":"Agent"},"text":"Are you there?"}""",
    )

    /** Without a network: expedited work under one name, on condition of a network; no WorkManager is no crash. */
    @Test
    fun whatWaitsIsPlannedWithWorkManager() = android {
        val config = BackstopConfig("http://127.0.0.1:1", "app_test", logger = log.logger())
        Backstop.initialize(app, config)
        assertEquals(Ack.Stored, Backstop.handlePush(simulatePush(), budget = SHORT).ours().ack)
        assertTrue(
            "${work.planned}",
            "dev.backstop.flush APPEND_OR_REPLACE expedited, network CONNECTED" in work.planned,
        )
        // The further away the next try, the later the plan.
        while (work.planned.none { it.startsWith("dev.backstop.flush.later REPLACE after ") }) Backstop.flush(SHORT)
        WorkManager.instance = null
        WorkManager.afterInitialize = null
        Backstop.handlePush(simulatePush(), budget = SHORT)
        // The app's own `onCreate` comes first: it may initialise WorkManager itself.
        assertTrue("${log.lines}", log.lines.none { it.startsWith("WARN WorkManager") })
        shadowOf(Looper.getMainLooper()).idle()
        assertTrue("${log.lines}", log.lines.any { it.startsWith("WARN WorkManager cannot be used") })
        // An app that switched off that it starts by itself: a plain one is made.
        WorkManager.afterInitialize = FakeWork()
        Backstop.handlePush(simulatePush(), budget = SHORT)
        shadowOf(Looper.getMainLooper()).idle()
        assertNotEquals(emptyList<String>(), (WorkManager.instance as FakeWork).planned)
        Backstop.setEnabled(false, SHORT)
        assertTrue((WorkManager.instance as FakeWork).cancelled.contains("dev.backstop.flush"))
    }

    /** Another process of the app stays out of the main one's storage. */
    @Test
    fun anotherProcessStaysOff() = android {
        val config = BackstopConfig("http://127.0.0.1:1", "app_test", logLevel = LogLevel.INFO, logger = log.logger())
        val real = app.applicationInfo.processName
        app.applicationInfo.processName = "the.main.one"
        Backstop.initialize(app, config)
        Backstop.initialize(app, config)
        app.applicationInfo.processName = real
        assertEquals(1, log.lines.size)
        val error = runCatching { Backstop.status() }.exceptionOrNull()
        val text = "BackstopException.NotInitialized: Backstop works in the app's main process, not in $real"
        assertEquals(text, "$error")
        assertTrue(Backstop.handles(simulatePush()))
    }

    /** Plain `http://` to other machines is for debug builds. */
    @Test
    fun allowHttpIsForDebugBuilds() = android {
        val flags = app.applicationInfo.flags
        app.applicationInfo.flags = flags and ApplicationInfo.FLAG_DEBUGGABLE.inv()
        Backstop.initialize(app, BackstopConfig("http://far.test", "app_test", logger = log.logger(), allowHttp = true))
        assertEquals("baseUrl", (runCatching { Backstop.status() }.exceptionOrNull() as BackstopException.Invalid).name)
        assertTrue("${log.lines}", log.lines.any { it == "ERROR allowHttp is ignored: this app is no debug build" })
        Backstop.close()
        app.applicationInfo.flags = flags or ApplicationInfo.FLAG_DEBUGGABLE
        Backstop.initialize(app, BackstopConfig("http://far.test", "app_test", logger = log.logger(), allowHttp = true))
        assertTrue(Backstop.status().enabled)
    }

    /** A configuration that cannot work gives way to a mended one; one that works stays. */
    @Test
    fun aMendedConfigurationTakesItsPlace() = android {
        Backstop.initialize(app, BackstopConfig("nonsense", "app_test", logger = log.logger()))
        assertTrue(runCatching { Backstop.status() }.exceptionOrNull() is BackstopException.Invalid)
        started {
            Backstop.initialize(app, BackstopConfig("http://127.0.0.1:1", "app_test", logger = log.logger()))
            assertTrue("${log.lines}", log.lines.last().startsWith("ERROR initialize was called again"))
            assertTrue(Backstop.status().registration is Registration.Confirmed)
        }
    }

    /** Java's calls are answered on the main thread. */
    @Test
    fun callbacksComeOnTheMainThread() = android {
        started {
            var thread: Thread? = null
            Backstop.status(object : BackstopCallback<Status> {
                override fun onSuccess(value: Status) {
                    thread = Thread.currentThread()
                }

                override fun onError(error: BackstopException) = throw error
            })
            while (thread == null) {
                shadowOf(Looper.getMainLooper()).idle()
                yield()
            }
            assertEquals(Looper.getMainLooper().thread, thread)
        }
    }

    /** Stored where no backup looks. */
    @Test
    fun storageIsLeftOutOfBackups() = android {
        started { assertNotNull(Backstop.status().installId) }
        assertTrue(app.noBackupFilesDir.resolve("backstop").isDirectory)
        assertNull(app.filesDir.walk().find { it.isFile })
    }

    private suspend fun started(body: suspend (Sandbox) -> Unit) = Sandbox.create().use { sandbox ->
        Backstop.initialize(app, BackstopConfig(sandbox.baseUrl, sandbox.appKey, logger = log.logger()))
        // The first start has registered: what follows is not mixed up with it.
        while (Backstop.status().registration !is Registration.Confirmed) yield()
        body(sandbox)
    }

    private suspend fun told(): Alerts {
        Backstop.setPushToken("token-of-firebase")
        return Backstop.status().alerts
    }

    private fun channel(importance: Int) = NotificationChannel("backstop", "Messages", importance)

    private fun allow(allowed: Boolean) {
        shadowOf(notifications).setNotificationsEnabled(allowed)
        val shadow = shadowOf(app)
        val permission = Manifest.permission.POST_NOTIFICATIONS
        if (allowed) shadow.grantPermissions(permission) else shadow.denyPermissions(permission)
    }

    private fun turned() = android.content.res.Configuration(app.resources.configuration).apply {
        orientation = android.content.res.Configuration.ORIENTATION_LANDSCAPE
    }

    private fun tapped(link: String) =
        Intent().putExtra(Backstop.PAYLOAD_KEY, simulatePush(link = link)[Backstop.PAYLOAD_KEY])

    private fun attach(application: Application) =
        android.content.ContextWrapper::class.java.getDeclaredMethod("attachBaseContext", Context::class.java)
            .apply { isAccessible = true }.invoke(application, app.baseContext)

    private fun android(body: suspend () -> Unit) = runBlocking { withTimeout(60_000) { body() } }

    private fun Log.logger() = dev.backstop.BackstopLogger { level, line -> lines += "$level $line" }

    private companion object {
        val SHORT = 200.milliseconds
        val LAUNCHED = android.content.IntentFilter(Intent.ACTION_MAIN).apply { addCategory(Intent.CATEGORY_LAUNCHER) }
        const val HASH_OF_ANN = "78352bae17eb6789b087bccad1370630a54d2ac28874e5be281538683767823c"

        fun LAUNCHER(app: Application) = android.content.ComponentName(app, Activity::class.java)
    }
}

/** Notes what is planned. */
class FakeWork : WorkManager() {
    val planned = CopyOnWriteArrayList<String>()
    val cancelled = CopyOnWriteArrayList<String>()

    override fun enqueueUniqueWork(name: String, policy: ExistingWorkPolicy, request: OneTimeWorkRequest): Operation {
        planned += "$name $policy ${request.described()}"
        return object : Operation {}
    }

    override fun cancelUniqueWork(name: String): Operation {
        cancelled += name
        return object : Operation {}
    }
}

/** A token that Firebase has already. */
class Token(private val token: String) : Task<String>() {
    override fun isSuccessful() = true

    override fun getResult() = token

    override fun addOnCompleteListener(listener: OnCompleteListener<String>) = apply { listener.onComplete(this) }
}
