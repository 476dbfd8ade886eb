// Sends what waits when the app is not in front, as WorkManager finds time and a network.
package dev.backstop.engine

import android.content.Context
import android.os.Build
import android.os.Handler
import android.os.Looper
import androidx.work.Configuration
import androidx.work.Constraints
import androidx.work.ExistingWorkPolicy
import androidx.work.NetworkType
import androidx.work.OneTimeWorkRequest
import androidx.work.OutOfQuotaPolicy
import androidx.work.WorkManager
import androidx.work.Worker
import androidx.work.WorkerParameters
import dev.backstop.Backstop
import dev.backstop.BackstopConfig
import dev.backstop.BackstopException
import dev.backstop.InternalBackstopApi
import dev.backstop.LogLevel
import java.util.concurrent.TimeUnit
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Job
import kotlinx.coroutines.runBlocking

/** One run: flushes until nothing waits, or until the next time is far. */
class FlushWorker(context: Context, parameters: WorkerParameters) : Worker(context, parameters) {
    private val job = Job()

    @OptIn(InternalBackstopApi::class)
    override fun doWork(): Result = try {
        runBlocking(job) { Backstop.flushInBackground() }
        Result.success()
    } catch (_: BackstopException) {
        // The acks stay on the device, and go when the app starts next.
        Result.success()
    } catch (_: CancellationException) {
        Result.success()
    }

    override fun onStopped() = job.cancel()
}

@InternalBackstopApi
internal class FlushScheduler(private val context: Context, private val config: BackstopConfig) {
    fun schedule(after: Duration) {
        val now = after < SOON
        val request = OneTimeWorkRequest.Builder(FlushWorker::class.java)
            .setConstraints(Constraints.Builder().setRequiredNetworkType(NetworkType.CONNECTED).build())
        if (!now) {
            request.setInitialDelay(after.inWholeMilliseconds, TimeUnit.MILLISECONDS)
        } else if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) {
            // Before Android 12 an expedited worker has to show a notification of its own.
            request.setExpedited(OutOfQuotaPolicy.RUN_AS_NON_EXPEDITED_WORK_REQUEST)
        }
        // A later time takes the place of an earlier plan. Planning is the last thing that a run does: one that is
        // stopped by its own plan has lost nothing.
        val policy = if (now) ExistingWorkPolicy.APPEND_OR_REPLACE else ExistingWorkPolicy.REPLACE
        withManager { it.enqueueUniqueWork(if (now) WORK_NOW else WORK_LATER, policy, request.build()) }
    }

    fun unschedule() {
        withManager {
            it.cancelUniqueWork(WORK_NOW)
            it.cancelUniqueWork(WORK_LATER)
        }
    }

    /** The host's. One that initialises WorkManager itself does so in `Application.onCreate`: it goes first. */
    private fun withManager(use: (WorkManager) -> Unit) {
        val own = instance()
        if (own != null) return guarded { use(own) }
        Handler(Looper.getMainLooper()).post {
            guarded {
                val manager = instance() ?: WorkManager.initialize(context, Configuration.Builder().build()).let {
                    WorkManager.getInstance(context)
                }
                use(manager)
            }
        }
    }

    private fun instance(): WorkManager? = try {
        WorkManager.getInstance(context)
    } catch (_: IllegalStateException) {
        null
    }

    /** What WorkManager or the host's configuration of it throws is not the host's to catch here. */
    private fun guarded(use: () -> Unit) = try {
        use()
    } catch (error: RuntimeException) {
        val what = error.javaClass.simpleName
        config.log(LogLevel.WARN, "WorkManager cannot be used ($what): what waits goes when the app is opened next")
    }

    private companion object {
        const val WORK_NOW = "dev.backstop.flush"
        const val WORK_LATER = "dev.backstop.flush.later"
        val SOON = 1.seconds
    }
}
