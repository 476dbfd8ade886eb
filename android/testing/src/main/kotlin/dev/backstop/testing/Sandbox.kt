// A workspace of a test's own on `backstop serve --sandbox`: customers, replies, a clock, and what left.
package dev.backstop.testing

import dev.backstop.Proof
import dev.backstop.testing.internal.TestException
import java.util.concurrent.atomic.AtomicInteger
import kotlin.time.Duration
import kotlinx.coroutines.runBlocking

/** Something that would have left. */
class Sent internal constructor(
    /** `push`, `sms`, `lms`, `email`, … */
    val channel: String,
    /** Push token, number or address. */
    val to: String,
    /** Whose it is; `null` for a self-test's push. */
    val followupId: String?,
    /** The whole request, as JSON. */
    val payload: String,
    internal val arrives: String?,
) {
    /** For a push: the data that arrives in the app. */
    val data: Map<String, String> get() = mapOf(dev.backstop.Backstop.PAYLOAD_KEY to arrives.orEmpty())

    override fun toString() = "$channel of $followupId"
}

/** Where a follow-up stands: `awaiting_ack`, `acked`, `fell_back`, … and why. */
data class Followup(val state: String, val reason: String?, val lateAckAt: String?)

/** A workspace of the test's own, so that tests run side by side. Its clock stands still until [advance] moves it. */
class Sandbox private constructor(private val sandbox: dev.backstop.testing.internal.Sandbox) : AutoCloseable {
    private val messages = AtomicInteger()

    /** For `BackstopConfig`. */
    val baseUrl: String get() = sandbox.baseUrl()

    /** For `BackstopConfig`. */
    val appKey: String get() = sandbox.appKey()

    /** What the company's backend would hand to its app for this customer. */
    fun proof(customerId: String): Proof = Proof.Hash(sandbox.customerHash(customerId))

    /** A customer with a number and an address. */
    suspend fun putCustomer(customerId: String, phone: String = "+821012345678", email: String = "ann@example.com") =
        telling { sandbox.putCustomer(customerId, phone, email) }

    /** An agent's reply to a customer who is away. Answers the follow-up's id. */
    suspend fun reply(customerId: String, text: String, link: String? = null): String = telling {
        val messageId = "message-${messages.incrementAndGet()}"
        if (link == null) {
            sandbox.reply(customerId, messageId, text)
        } else {
            sandbox.replyWithLink(customerId, messageId, text, link)
        }
    }

    /** Turns the clock. What falls due on the way is decided and sent before this returns. */
    suspend fun advance(time: Duration) = telling { sandbox.advance(time.inWholeMilliseconds.toULong()) }

    /** Everything that would have left, oldest first; all channels, or one. */
    suspend fun outbox(channel: String? = null): List<Sent> = telling {
        sandbox.outbox(channel).map { Sent(it.channel, it.to, it.followupId, it.payload, it.arrives) }
    }

    /** Pushes that would have left. */
    suspend fun pushes(): List<Sent> = outbox("push")

    /** Text messages that would have left. */
    suspend fun texts(): List<Sent> = outbox().filter { it.channel != "push" && it.channel != "email" }

    /** Mails that would have left. */
    suspend fun emails(): List<Sent> = outbox("email")

    /** Where a follow-up stands. */
    suspend fun followup(id: String): Followup = telling {
        sandbox.followup(id).let { Followup(it.state, it.reason, it.lateAckAt) }
    }

    /** What a provider does from now on; for `push`: `accept`, `token_gone`, `reject`, `timeout`, … */
    suspend fun provider(channel: String, behaviour: String) = telling { sandbox.provider(channel, behaviour) }

    /** Any other call of the backend's API, in JSON; an empty [body] = none. */
    suspend fun request(method: String, path: String, body: String = ""): String =
        telling { sandbox.request(method, path, body) }

    override fun close() = sandbox.close()

    companion object {
        init {
            TestLibrary.use()
        }

        /** On the sandbox at that URL: by default that of the variable `BACKSTOP_SANDBOX_URL`, or port 8080 here. */
        @JvmStatic
        @JvmOverloads
        fun create(url: String = System.getenv("BACKSTOP_SANDBOX_URL") ?: "http://127.0.0.1:8080"): Sandbox =
            runBlocking { telling { Sandbox(dev.backstop.testing.internal.Sandbox.create(url)) } }

        private suspend fun <T> telling(call: suspend () -> T): T = try {
            call()
        } catch (error: TestException.Failed) {
            throw IllegalStateException(error.explanation, error)
        }
    }
}
