// A network with a server in it, and a clock, in a test's hand.
package dev.backstop.testing

import dev.backstop.testing.internal.NetworkBehaviour
import dev.backstop.testing.internal.TestClock
import dev.backstop.testing.internal.TestNetwork
import dev.backstop.testing.internal.simulatedPush
import java.util.concurrent.atomic.AtomicInteger
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.first

/** What a network does with a request. */
sealed interface Behaviour {
    /** The server takes it. */
    object Work : Behaviour

    /** There is no connection. */
    object Offline : Behaviour

    /** Nobody ever answers. */
    object Hang : Behaviour

    /** The server takes it, and its answer gets lost. */
    object LoseAnswer : Behaviour

    /** The server refuses it. */
    data class Refuse(val status: Int, val code: String, val retryAfter: Duration? = null) : Behaviour

    /** A defect of the SDK itself: a panic inside the call. */
    object Panic : Behaviour
}

/** A request that reached the network. */
data class SentRequest(val method: String, val path: String, val body: String)

/** An ack that the server took: of which push, `displayed` or another grade, and why if `suppressed`. */
data class SentAck(val receipt: String, val grade: String, val why: String?)

/** A network and a server in the test's hand. It takes every registration, and every ack once. */
class FakeNetwork : AutoCloseable {
    init {
        TestLibrary.use()
    }

    internal val network = TestNetwork()

    /** Every request that was made, answered or not. */
    val requests: List<SentRequest> get() = network.requests().map { SentRequest(it.method, it.path, it.body) }

    /** Every ack that the server took, in order, each once. */
    val acks: List<SentAck> get() = network.acks().map { SentAck(it.receipt, it.grade, it.detail) }

    /** From now on, until told otherwise. */
    fun behave(behaviour: Behaviour) = network.behave(behaviour.toFfi())

    /** For one request, after those that were told before. */
    fun behaveOnce(behaviour: Behaviour) = network.behaveOnce(behaviour.toFfi())

    override fun close() = network.close()

    private fun Behaviour.toFfi(): NetworkBehaviour = when (this) {
        Behaviour.Work -> NetworkBehaviour.Work
        Behaviour.Offline -> NetworkBehaviour.Offline
        Behaviour.Hang -> NetworkBehaviour.Hang
        Behaviour.LoseAnswer -> NetworkBehaviour.LoseAnswer
        Behaviour.Panic -> NetworkBehaviour.Panic
        is Behaviour.Refuse ->
            NetworkBehaviour.Refuse(status.toUShort(), code, retryAfter?.inWholeMilliseconds?.toULong())
    }
}

/** The phone's clocks in a test's hand. Time budgets of calls run in real time all the same. */
class VirtualClock(startMs: Long = 1_800_000_000_000) : AutoCloseable {
    init {
        TestLibrary.use()
    }

    internal val clock = TestClock.at(startMs)
    private val elapsed = MutableStateFlow(Duration.ZERO)

    /** What the wall clock shows, in milliseconds UTC since 1970. */
    val wallMs: Long get() = clock.wallMs()

    internal val elapsedMs: Long get() = elapsed.value.inWholeMilliseconds

    /** Lets time pass. */
    fun advance(time: Duration) {
        clock.advance(time.inWholeMilliseconds.toULong())
        elapsed.value += time
    }

    /** Sets the wall clock, as a customer or a network may; no time passes. */
    fun setWall(wallMs: Long) = clock.setWall(wallMs)

    internal suspend fun pause(duration: Duration) {
        val end = elapsed.value + duration.coerceAtLeast(1.milliseconds)
        elapsed.first { it >= end }
    }

    override fun close() = clock.close()
}

/** The data of a push as Firebase hands it to the app. */
@JvmOverloads
fun simulatePush(
    title: String = "Ann",
    body: String = "Your parcel is on its way",
    link: String? = null,
    receipt: String = "receipt-${receipts.incrementAndGet()}",
): Map<String, String> {
    TestLibrary.use()
    return mapOf(dev.backstop.Backstop.PAYLOAD_KEY to simulatedPush(receipt, title, body, link, false))
}

private val receipts = AtomicInteger()

/** Tests load one library that holds the SDK's, too. */
internal object TestLibrary {
    init {
        System.setProperty("uniffi.component.backstop_ffi.libraryOverride", "backstop_ffi_testing")
    }

    /** To be called before anything of the library is touched. */
    fun use() = Unit
}
