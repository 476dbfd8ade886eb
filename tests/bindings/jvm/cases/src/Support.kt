// What the cases share: a phone on the sandbox of `run`, and a log that is kept.
package dev.backstop.cases

import dev.backstop.Ack
import dev.backstop.BackstopConfig
import dev.backstop.LogLevel
import dev.backstop.Push
import dev.backstop.PushResult
import dev.backstop.testing.FakeNetwork
import dev.backstop.testing.Sandbox
import dev.backstop.testing.TestPhone
import java.nio.file.Files
import java.nio.file.Path
import java.util.concurrent.CopyOnWriteArrayList
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import kotlinx.coroutines.yield
import org.junit.jupiter.api.Assertions.assertInstanceOf

/** A case: it ends within two minutes, or fails. */
fun case(body: suspend CoroutineScope.() -> Unit) = runBlocking(Dispatchers.Default) { withTimeout(120_000, body) }

/** A workspace of its own, and the app on a phone. */
suspend fun withSandbox(body: suspend (Sandbox, TestPhone) -> Unit) = Sandbox.create().use { sandbox ->
    sandbox.putCustomer("ann")
    TestPhone.on(sandbox).use { body(sandbox, it) }
}

/** A phone on a network in the test's hand. */
suspend fun withNetwork(body: suspend (FakeNetwork, TestPhone) -> Unit) =
    FakeNetwork().use { network -> TestPhone.on(network).use { body(network, it) } }

/** As [withNetwork], on a disk that is never slow: for thousands of acks, each durable by itself. */
suspend fun withNetworkInMemory(body: suspend (FakeNetwork) -> Unit) {
    val home = Files.createTempDirectory(Path.of("/dev/shm"), "backstop-cases").toFile()
    try {
        FakeNetwork().use { network -> TestPhone.on(network) { directory = home }.use { body(network) } }
    } finally {
        home.deleteRecursively()
    }
}

/** Waits for what another thread does: for its sign, not for time. */
suspend fun until(sign: () -> Boolean) {
    while (!sign()) yield()
}

fun PushResult.ours(): PushResult.Ours = assertInstanceOf(PushResult.Ours::class.java, this)

fun Ack.confirmed(): Ack.Confirmed = assertInstanceOf(Ack.Confirmed::class.java, this)

/** What the SDK logs, line by line. */
class Log {
    val lines = CopyOnWriteArrayList<String>()

    fun config(level: LogLevel = LogLevel.DEBUG) = { baseUrl: String, appKey: String ->
        BackstopConfig(baseUrl, appKey, logLevel = level, logger = { at, line -> lines += "$at $line" })
    }
}

/** What the customer reads. */
val List<Push>.bodies get() = map { it.body }
