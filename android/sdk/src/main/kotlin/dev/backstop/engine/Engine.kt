// Opens the library, forwards calls to it, and decides when something has to be sent.
package dev.backstop.engine

import dev.backstop.Ack
import dev.backstop.Alerts
import dev.backstop.BackstopCall
import dev.backstop.BackstopCallback
import dev.backstop.BackstopConfig
import dev.backstop.BackstopException
import dev.backstop.Display
import dev.backstop.Flush
import dev.backstop.Grade
import dev.backstop.InternalBackstopApi
import dev.backstop.LogLevel
import dev.backstop.Proof
import dev.backstop.Push
import dev.backstop.PushResult
import dev.backstop.SelfTest
import dev.backstop.Status
import dev.backstop.TapResult
import dev.backstop.internal.Client
import dev.backstop.internal.ClientConfig
import dev.backstop.internal.DeviceFacts
import dev.backstop.internal.Platform
import dev.backstop.internal.PresenceState
import dev.backstop.internal.PushProvider
import dev.backstop.internal.PushToken
import dev.backstop.internal.Seen
import dev.backstop.internal.nextLogs
import dev.backstop.internal.parsePush
import dev.backstop.internal.sdkVersion
import dev.backstop.internal.setLogLevel
import java.util.concurrent.ConcurrentHashMap
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineExceptionHandler
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.isActive
import kotlinx.coroutines.launch
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext

/** One running SDK. */
@InternalBackstopApi
class Engine(
    private val config: BackstopConfig,
    internal val phone: Phone,
    private val openClient: (ClientConfig) -> Client,
) {
    private val scope = CoroutineScope(SupervisorJob() + executor + CoroutineExceptionHandler { _, error ->
        // The host app must not end because of what the SDK does in the background.
        config.log(LogLevel.ERROR, "a defect of the SDK: please report it: ${error.javaClass.simpleName}")
    })
    private val opening = Mutex()

    /** When the app last told of the customer's activity; an app that never does counts as used while in front. */
    @Volatile
    private var lastActivityMs: Long? = null

    /** Pushes that were shown: the server repeats one on purpose when it does not know whether it left. */
    private val shown = LinkedHashSet<String>()

    /** Links of taps whose caller was gone when they came. */
    private val undelivered = ConcurrentHashMap<String, String>()

    @Volatile
    private var client: Client? = null

    /** Whether the configuration itself is wrong, so that another one may take its place. */
    @Volatile
    internal var cannotOpen = false
        private set

    @Volatile
    private var front: Job? = null

    @Volatile
    private var leaving: Job? = null

    /** What the server was told of notifications, as far as this process knows. */
    @Volatile
    private var toldAlerts: Alerts? = null

    internal fun start() {
        scope.launch { pullLogs() }
        phone.watch(object : FrontListener {
            override fun cameToFront() = this@Engine.cameToFront()

            override fun resumed() {
                quietly("reading whether notifications are shown") { readAlerts() }
            }

            override fun left() = this@Engine.left()
        })
        quietly("starting") {
            phone.unlocked()
            client()
            readAlerts()
            phone.pushToken()?.let { setPushToken(it, background) }
            flush(background)
        }
    }

    internal fun close() {
        phone.unwatch()
        scope.cancel()
        client?.close()
    }

    internal suspend fun logIn(customerId: String, proof: Proof, budget: Duration) = flushing { client ->
        client.identify(customerId, proof.toFfi(), budget.toFfi(), null)
    }

    internal suspend fun logOut(budget: Duration) = flushing { it.logOut(budget.toFfi(), null) }

    internal suspend fun setPushToken(token: String, budget: Duration): Flush {
        val given = PushToken(PushProvider.FCM, token, phone.applicationId, null)
        val alerts = visibility().alerts
        return flushing { it.setToken(given, alerts.toFfi(), budget.toFfi(), null) }.also { toldAlerts = alerts }
    }

    internal suspend fun flush(budget: Duration) = flushing { it.flush(budget.toFfi(), null) }

    internal suspend fun status(): Status = call { it.status().toPublic() }

    internal suspend fun handlePush(payload: String, push: Push, display: Display, budget: Duration): PushResult =
        withContext(executor) {
            val visibility = visibility()
            val client = try {
                typed { client() }
            } catch (error: BackstopException) {
                val isShown = show(push, payload, display, visibility)
                return@withContext PushResult.Ours(push, isShown, Ack.Failed(error).also { waitingGoesLater(it) })
            }
            // Shown first, which is one quick call: `displayed` is said of what the system took (P7).
            val isRepeated = isShown(push)
            val shown = !isOff(client) && !isRepeated && show(push, payload, display, visibility)
            val seen = when {
                display == Display.LATER -> Seen.Received
                visibility.why != null -> Seen.Suppressed(visibility.why)
                display == Display.BACKSTOP && !shown && !isRepeated -> Seen.Suppressed("not_shown")
                else -> Seen.Displayed
            }
            val ack = attempt(client) { client.handlePush(payload, seen, budget.toFfi(), null) }
            waitingGoesLater(ack)
            if (visibility.alerts != (toldAlerts ?: visibility.alerts)) {
                quietly("telling whether notifications are shown") { readAlerts() }
            }
            PushResult.Ours(push, shown, ack)
        }

    private fun show(push: Push, payload: String, display: Display, visibility: Visibility): Boolean {
        if (display != Display.BACKSTOP || visibility.why != null || !phone.show(push, payload)) return false
        synchronized(shown) {
            shown += push.receipt
            if (shown.size > SHOWN_KEPT) shown.remove(shown.first())
        }
        return true
    }

    private fun isShown(push: Push) = synchronized(shown) { push.receipt in shown }

    /** A system that does not answer is no reason not to show a push. */
    private fun visibility() = runCatching { phone.visibility() }.getOrDefault(Visibility.SHOWN)

    internal suspend fun acknowledge(push: Push, grade: Grade, why: String?, budget: Duration): Ack =
        call { it.acknowledge(push.receipt, grade.toFfi(), why, budget.toFfi(), null).toPublic() }
            .also { waitingGoesLater(it) }

    internal suspend fun handleTap(payload: String, push: Push): TapResult = withContext(executor) {
        val schemes = config.linkSchemes.toList()
        try {
            // Nobody waits for the network with a chat in mind: the ack is recorded now and sent behind. An activity
            // that is made anew meanwhile asks again, and gets the link that its predecessor did not take.
            val tapped = withContext(NonCancellable) { typed { client().handleTap(payload, schemes, 0UL, null) } }
                ?: return@withContext TapResult.NotOurs
            quietly("acknowledging a tap") { flush(background) }
            val link = tapped.link ?: undelivered.remove(push.receipt)
            if (link != null && !currentCoroutineContext().isActive) undelivered[push.receipt] = link
            TapResult.Ours(push, link, tapped.ack?.toPublic() ?: Ack.Failed(notKept()))
        } catch (error: BackstopException) {
            config.log(LogLevel.WARN, "a tap is not acknowledged: ${error.message}")
            TapResult.Ours(push, push.allowedLink(config.linkSchemes), Ack.Failed(error))
        }
    }

    internal suspend fun setEnabled(enabled: Boolean, budget: Duration) {
        call { it.setEnabled(enabled, budget.toFfi(), null) }
        if (enabled) {
            readAlerts()
            phone.pushToken()?.let { setPushToken(it, budget) }
        } else {
            phone.unschedule()
        }
    }

    internal suspend fun selfTest(budget: Duration): SelfTest = call { client ->
        val visibility = visibility()
        val channelOn = visibility != Visibility.CHANNEL_OFF
        val facts = DeviceFacts(
            // A channel that is off is a finding of its own.
            alerts = (if (channelOn) visibility else Visibility.SHOWN).alerts.toFfi(),
            channelOn = channelOn,
            backgroundAllowed = phone.backgroundAllowed(),
            pushServiceProblem = phone.pushServiceProblem(),
            signedEnvironment = null,
            appGroupOpens = null,
            extensionPresent = null,
            keychainShared = null,
        )
        client.selfTest(facts, budget.toFfi(), null).toPublic()
    }

    /** Flushes until nothing waits, or the next time is far and is planned. */
    internal suspend fun flushInBackground() {
        val startMs = phone.elapsedMs()
        while (true) {
            val next = call { it.flush(background.toFfi(), null).toPublic() }.nextFlushIn ?: return
            val spent = (phone.elapsedMs() - startMs).milliseconds
            if (next > patience || spent + next > workerLimit) return phone.schedule(next)
            phone.pause(next)
        }
    }

    internal fun noteActivity() {
        lastActivityMs = phone.elapsedMs()
    }

    private fun cameToFront() {
        if (lastActivityMs != null) noteActivity()
        front?.cancel()
        leaving?.cancel()
        quietly("coming to the front") { flush(background) }
        front = quietly("telling that the app is in front") {
            while (true) {
                presence(PresenceState.ACTIVE, lastActivityMs?.let { phone.elapsedMs() - it } ?: 0)
                phone.pause(heartbeat)
            }
        }
    }

    private fun left() {
        front?.cancel()
        leaving = quietly("telling that the app is in the background") {
            presence(PresenceState.LEFT, null)
            flush(background)
        }
    }

    /** Best effort: without a network or a registration nobody hears it, and the server takes silence for absence. */
    private suspend fun presence(state: PresenceState, idleMs: Long?) {
        try {
            call { it.presence(state, idleMs, presenceBudget.toFfi(), null) }
        } catch (error: BackstopException) {
            config.log(LogLevel.DEBUG, "presence was not told: ${error.message}")
        }
    }

    private suspend fun readAlerts() {
        val alerts = visibility().alerts
        flushing { it.setAlerts(alerts.toFfi(), background.toFfi(), null) }
        toldAlerts = alerts
    }

    private suspend fun flushing(block: suspend (Client) -> dev.backstop.internal.Flushed): Flush {
        val flush = call { block(it).toPublic() }
        flush.nextFlushIn?.let { phone.schedule(it) }
        return flush
    }

    private fun waitingGoesLater(ack: Ack) {
        when (ack) {
            is Ack.Confirmed -> {}
            Ack.Stored -> phone.schedule(Duration.ZERO)
            is Ack.Failed -> config.log(LogLevel.ERROR, "a push is not acknowledged: ${ack.error.message}")
        }
    }

    private suspend fun attempt(client: Client, handle: suspend () -> dev.backstop.internal.Handled?): Ack = try {
        // `parse` took it for ours, so the library does.
        mending(client, handle)?.ack?.toPublic() ?: Ack.Stored
    } catch (error: BackstopException) {
        Ack.Failed(error)
    }

    private suspend fun <T> call(block: suspend (Client) -> T): T = withContext(executor) {
        val client = typed { client() }
        mending(client) { block(client) }
    }

    /** A storage that broke in use is set aside by opening anew: the next call does. */
    private suspend fun <T> mending(client: Client, call: suspend () -> T): T = try {
        typed { call() }
    } catch (error: BackstopException.StorageUnusable) {
        opening.withLock { if (this.client === client) this.client = null }
        client.close()
        throw error
    }

    /** The open library. Opening is tried again with each call after it failed. */
    private suspend fun client(): Client = client ?: opening.withLock { client ?: open().also { client = it } }

    private fun open(): Client {
        val directory = phone.directory ?: throw BackstopException.StorageUnusable(
            "the phone was not unlocked since its start, and its storage is closed until then",
        )
        if (config.allowHttp && !phone.debuggable) {
            config.log(LogLevel.ERROR, "allowHttp is ignored: this app is no debug build")
        }
        val settings = ClientConfig(
            baseUrl = config.baseUrl,
            appKey = config.appKey,
            platform = Platform.ANDROID,
            sdk = "android/${typed { sdkVersion() }}",
            directory = directory,
            spoolDirectory = null,
            locale = phone.locale,
            extraRootCertificates = config.extraRootCertificates.map { it.toByteArray() },
            allowHttp = config.allowHttp && phone.debuggable,
        )
        return try {
            typed { openClient(settings) }
        } catch (error: BackstopException.Invalid) {
            cannotOpen = true
            throw error
        }
    }

    /** Runs in the background; a failure is a line in the log. */
    private fun quietly(doing: String, block: suspend () -> Unit): Job = scope.launch {
        try {
            block()
        } catch (_: BackstopException.Disabled) {
            // Nothing to do, as the app wished.
        } catch (error: BackstopException) {
            config.log(if (error.mendsItself()) LogLevel.WARN else LogLevel.ERROR, "$doing: ${error.message}")
        }
    }

    private suspend fun pullLogs() {
        setLogLevel(config.logLevel.toFfi())
        while (scope.isActive) {
            nextLogs(5.minutes.toFfi()).forEach { config.log(it.level.toPublic(), it.message) }
        }
    }

    @InternalBackstopApi
    companion object {
        /** Two may be lost or slow before the server's limit of 60 s. */
        private val heartbeat = 20.seconds
        private val presenceBudget = 5.seconds
        private const val SHOWN_KEPT = 64
        private val background = 20.seconds

        /** What the flush worker waits for in place of being scheduled again. */
        private val patience = 30.seconds
        private val workerLimit = 2.minutes

        /** The SDK's own: a call may wait for the disk, so that the host's threads never do. */
        private val executor = Dispatchers.IO.limitedParallelism(8)

        /** The push in the value of the reserved key; `null` = not ours, or not to be read. */
        internal fun parse(payload: String?): Push? =
            payload?.let { runCatching { parsePush(it) }.getOrNull() }?.toPublic()

        /** Runs a call for Java. */
        internal fun <T> deliver(engine: Engine?, callback: BackstopCallback<T>, call: suspend () -> T): BackstopCall {
            fun main(block: () -> Unit) = if (engine != null) engine.phone.onMain(block) else block()
            val job = CoroutineScope(executor).launch {
                try {
                    val value = call()
                    main { callback.onSuccess(value) }
                } catch (error: BackstopException) {
                    main { callback.onError(error) }
                } catch (cancelled: CancellationException) {
                    main { callback.onError(cancelledByCaller()) }
                    throw cancelled
                } catch (error: RuntimeException) {
                    val what = error.javaClass.simpleName
                    main { callback.onError(BackstopException.Defect("a defect of the SDK: please report it: $what")) }
                }
            }
            return BackstopCall { job.cancel() }
        }

        private fun cancelledByCaller() =
            BackstopException.Cancelled("cancelled by the caller; what was recorded stays recorded")

        private fun notKept() =
            BackstopException.StorageUnusable("the tap could not be kept, and its link is handed out")

        private fun isOff(client: Client) = runCatching { !client.status().enabled }.getOrDefault(false)

        private fun BackstopException.mendsItself() =
            this is BackstopException.Unreachable || this is BackstopException.Refused
    }
}
