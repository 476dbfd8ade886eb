// A process is killed with SIGKILL at any point; what it had recorded reaches the server once.
package dev.backstop.cases

import dev.backstop.Backstop
import dev.backstop.BackstopConfig
import dev.backstop.LogLevel
import dev.backstop.testing.Behaviour
import dev.backstop.testing.FakeNetwork
import dev.backstop.testing.TestPhone
import dev.backstop.testing.simulatePush
import java.io.BufferedReader
import java.io.File
import java.nio.file.Files
import java.util.UUID
import kotlin.random.Random
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

private const val KILLS = 50
private const val SEED = 20261123
private const val SIGKILL = 9

/** The child: records acks without a network, and prints each receipt when the call has returned. */
object Recorder {
    @JvmStatic
    fun main(arguments: Array<String>) = runBlocking {
        // No server ever hears of it, not even at the start.
        val network = FakeNetwork().apply { behave(Behaviour.Offline) }
        // Nothing but receipts may be printed.
        TestPhone.on(network) {
            token = null
            directory = File(arguments[0])
            config = { url, key -> BackstopConfig(url, key, logLevel = LogLevel.NONE) }
        }
        while (true) {
            val receipt = UUID.randomUUID().toString()
            Backstop.handlePush(simulatePush(receipt = receipt), budget = Duration.ZERO).ours()
            println(receipt)
        }
    }
}

class KillCases {
    private val home = Files.createTempDirectory("backstop-killed").toFile()

    /** C4: once the call has returned, nothing but the server's answer takes the ack away. */
    @Test
    fun killedBetweenRecordAndUpload() = case {
        val receipts = recordAndKill(1)
        assertTrue(receipts.isNotEmpty())
        assertUploadedOnce(receipts)
    }

    /** C4, invariant 3: killed fifty times at random points, no ack is lost and none accepted twice. */
    @Test
    fun fiftyKills() {
        val random = Random(SEED)
        val receipts = (1..KILLS).flatMap { recordAndKill(random.nextInt(0, 40)) }
        assertTrue(receipts.size > KILLS, "${receipts.size} acks")
        runBlocking { assertUploadedOnce(receipts) }
        println("$KILLS kills, ${receipts.size} acks recorded, none lost, none twice")
    }

    private fun recordAndKill(afterLines: Int): List<String> {
        val java = File(System.getProperty("java.home"), "bin/java").path
        val child = ProcessBuilder(
            java, "-XX:TieredStopAtLevel=1", "-Djna.library.path=${System.getProperty("jna.library.path")}",
            "-cp", System.getProperty("java.class.path"), Recorder::class.java.name, home.path,
        ).redirectError(ProcessBuilder.Redirect.INHERIT).start()
        val out = child.inputStream.bufferedReader()
        val receipts = generateSequence { out.readLine() }.take(afterLines).toMutableList()
        assertEquals(afterLines, receipts.size) { "the child ended by itself" }
        // Not `destroyForcibly`, which closes the pipe: what it printed before the signal counts as well.
        ProcessBuilder("kill", "-KILL", "${child.pid()}").start().waitFor()
        receipts += whole(out)
        assertEquals(128 + SIGKILL, child.waitFor())
        return receipts
    }

    /** The lines that are left; the last one may be cut off. */
    private fun whole(out: BufferedReader) = out.readText().split('\n').dropLast(1)

    private suspend fun assertUploadedOnce(receipts: List<String>) = FakeNetwork().use { network ->
        TestPhone.on(network) { directory = home }.use {
            while (Backstop.flush(30.seconds).pending > 0) continue
            val sent = network.requests.filter { it.path == "/v1/acks" }
                .flatMap { request -> Regex(""""receipt":"([^"]+)"""").findAll(request.body).map { it.groupValues[1] } }
            assertEquals(sent.size, sent.toSet().size)
            assertEquals(emptySet<String>(), receipts.toSet() - sent.toSet())
        }
        home.deleteRecursively()
    }
}
