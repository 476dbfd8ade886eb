// The cases that need a network, a clock or a disk in the test's hand.
package dev.backstop.cases

import dev.backstop.Ack
import dev.backstop.Backstop
import dev.backstop.BackstopCallback
import dev.backstop.BackstopConfig
import dev.backstop.BackstopException
import dev.backstop.Customer
import dev.backstop.Display
import dev.backstop.Flush
import dev.backstop.Grade
import dev.backstop.LogLevel
import dev.backstop.Proof
import dev.backstop.PushResult
import dev.backstop.Registration
import dev.backstop.Storage
import dev.backstop.TapResult
import dev.backstop.testing.Behaviour
import dev.backstop.testing.FakeNetwork
import dev.backstop.testing.SentAck
import dev.backstop.testing.TestPhone
import dev.backstop.testing.VirtualClock
import dev.backstop.testing.simulatePush
import java.io.File
import java.nio.file.Files
import java.util.concurrent.CompletableFuture
import kotlin.time.Duration
import kotlin.time.Duration.Companion.days
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertInstanceOf
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows

private val proof = Proof.Hash("0".repeat(64))

class NetworkCases {
    /** The same set-up again changes nothing; another one is an error in the log, and the first stays. */
    @Test
    @OptIn(dev.backstop.InternalBackstopApi::class)
    fun initialiseTwice() = case {
        val log = Log()
        FakeNetwork().use { network ->
            TestPhone.on(network) { config = log.config(LogLevel.ERROR) }.use {
                val install = Backstop.status().installId
                val same = log.config(LogLevel.ERROR)("https://backstop.test", "app_test")
                Backstop.start(same, { error("another phone") }) { error("another library") }
                assertEquals(emptyList<String>(), log.lines)
                val other = BackstopConfig("https://elsewhere.test", "app_test")
                Backstop.start(other, { error("another phone") }) { error("another library") }
                assertEquals(
                    listOf(
                        "ERROR initialize was called again with another configuration, which is ignored: call it " +
                            "once, in Application.onCreate",
                    ),
                    log.lines,
                )
                assertEquals(install, Backstop.status().installId)
            }
        }
    }

    /** Each call names the setting; a mended configuration takes the place of one that cannot work. */
    @Test
    @OptIn(dev.backstop.InternalBackstopApi::class)
    fun badConfig() = case {
        val log = Log()
        val wrong = listOf("nonsense", "ftp://x.test", "http://far.test", "https://x.test/?a=1")
        for (url in wrong) {
            FakeNetwork().use { network ->
                TestPhone.on(network) { config = { _, key -> log.config(LogLevel.ERROR)(url, key) } }.use {
                    val error = assertThrows<BackstopException.Invalid> { runBlocking { Backstop.status() } }
                    assertEquals("baseUrl", error.name)
                    assertTrue(error.message.contains("`baseUrl`"), error.message)
                    // The push is shown all the same.
                    assertTrue(Backstop.handlePush(simulatePush()).ours().shown)
                    assertEquals(1, it.shown.size)
                }
            }
        }
        assertTrue(log.lines.any { it.startsWith("ERROR starting: ") }, "${log.lines}")
        FakeNetwork().use { network ->
            TestPhone.on(network) { config = { url, _ -> BackstopConfig(url, "", logLevel = LogLevel.NONE) } }.use {
                val error = assertThrows<BackstopException.Invalid> { runBlocking { Backstop.logIn("ann", proof) } }
                assertEquals("appKey", error.name)
            }
            TestPhone.on(network).use { assertNotNull(Backstop.status().deviceId) }
        }
        assertInvalid("customerId") { Backstop.logIn("", proof) }
        assertInvalid("proof") { Backstop.logIn("ann", Proof.Token("")) }
        assertInvalid("token") { Backstop.setPushToken("") }
    }

    private suspend fun assertInvalid(name: String, call: suspend () -> Unit) = withNetwork { _, _ ->
        val error = assertThrows<BackstopException.Invalid> { runBlocking { call() } }
        assertEquals(name, error.name)
    }

    /** Typed, and it says what to do; what needs no set-up works without. */
    @Test
    fun callsBeforeInitialise() = case {
        Backstop.close()
        val calls = listOf<suspend () -> Any>(
            { Backstop.logIn("ann", proof) },
            { Backstop.logOut() },
            { Backstop.setPushToken("t") },
            { Backstop.handlePush(simulatePush()) },
            { Backstop.handleTap(simulatePush()[Backstop.PAYLOAD_KEY]) },
            { Backstop.flush() },
            { Backstop.status() },
            { Backstop.setEnabled(false) },
            { Backstop.selfTest() },
        )
        for (call in calls) {
            val error = assertThrows<BackstopException.NotInitialized> { runBlocking { call() } }
            assertEquals("call Backstop.initialize first, in Application.onCreate", error.message)
        }
        assertTrue(Backstop.handles(simulatePush()))
        assertEquals(PushResult.NotOurs, Backstop.handlePush(mapOf("theirs" to "1")))
        val answer = CompletableFuture<BackstopException>()
        Backstop.flush(object : BackstopCallback<Flush> {
            override fun onSuccess(value: Flush) = error("it cannot")

            override fun onError(error: BackstopException) {
                answer.complete(error)
            }
        })
        assertInstanceOf(BackstopException.NotInitialized::class.java, answer.get())
    }

    /** C4: recorded offline, planned with the system, delivered once. */
    @Test
    fun offlineThenFlush() = case {
        withNetwork { network, phone ->
            network.behave(Behaviour.Offline)
            val stored = Backstop.handlePush(simulatePush(receipt = "r1")).ours()
            assertEquals(Ack.Stored to true, stored.ack to stored.shown)
            assertTrue(phone.scheduled.contains(Duration.ZERO), "${phone.scheduled}")
            assertEquals(1, Backstop.status().pending)
            network.behave(Behaviour.Work)
            phone.runScheduled()
            Backstop.flush()
            assertEquals(listOf(SentAck("r1", "displayed", null)), network.acks)
            assertEquals(0, Backstop.status().pending)
        }
    }

    /** Nothing is lost, nothing twice, when everything comes at once. */
    @Test
    fun twoThousandConcurrentCalls() = case {
        withNetworkInMemory { network ->
            val calls = (1..2_000).map { async { Backstop.handlePush(simulatePush(receipt = "many-$it")) } }
            val results = calls.awaitAll()
            assertEquals(2_000, results.count { it.ours().ack !is Ack.Failed })
            while (Backstop.flush(30.seconds).pending > 0) continue
            assertEquals((1..2_000).map { "many-$it" }.toSet(), network.acks.map { it.receipt }.toSet())
            assertEquals(2_000, network.acks.size)
        }
    }

    /** A defect in Rust is an error of that call, and the SDK goes on. */
    @Test
    fun panicIsAnError() = case {
        withNetwork { network, phone ->
            network.behave(Behaviour.Panic)
            val error = runCatching { Backstop.logIn("ann", proof) }.exceptionOrNull()
            assertInstanceOf(BackstopException.Defect::class.java, error)
            val push = Backstop.handlePush(simulatePush(receipt = "in a panic".replace(' ', '-'))).ours()
            assertTrue(push.shown)
            assertInstanceOf(BackstopException.Defect::class.java, (push.ack as Ack.Failed).error)
            network.behave(Behaviour.Work)
            Backstop.flush()
            assertEquals(listOf("in-a-panic"), network.acks.map { it.receipt })
            assertEquals(1, phone.shown.size)
            assertEquals(Customer.BOUND, Backstop.status().customer)
        }
    }

    /** Not ours: left alone, whatever it looks like. */
    @Test
    fun payloadsNotOurs() = case {
        withNetwork { network, phone ->
            val before = network.requests.size
            val deep = "[".repeat(200_000)
            val theirs = listOf(
                emptyMap(),
                mapOf("receipt" to "theirs", "title" to "Theirs"),
                mapOf("backstop" to ""),
                mapOf("backstop" to "null"),
                mapOf("backstop" to "{"),
                mapOf("backstop" to """{"v":1}"""),
                mapOf("backstop" to """{"v":1,"receipt":7}"""),
                mapOf("backstop" to deep),
                mapOf("backstop" to """{"backstop":$deep"""),
                mapOf("backstop" to """{"v":1,"receipt":"${"x".repeat(1_000_000)}"}"""),
                mapOf("backstop" to "\u0000\uD800"),
            )
            for (data in theirs) {
                assertFalse(Backstop.handles(data))
                assertEquals(PushResult.NotOurs, Backstop.handlePush(data))
                assertEquals(TapResult.NotOurs, Backstop.handleTap(data["backstop"]))
            }
            assertEquals(0 to before, phone.shown.size to network.requests.size)
        }
    }

    /** W5: a version we never heard of is acknowledged if it carries a receipt. */
    @Test
    fun payloadOfAnotherVersion() = case {
        withNetwork { network, _ ->
            val data = mapOf("backstop" to """{"v":7,"receipt":"of-tomorrow","title":{"rich":true},"extra":[1]}""")
            assertTrue(Backstop.handles(data))
            assertInstanceOf(Ack.Confirmed::class.java, Backstop.handlePush(data).ours().ack)
            assertEquals(listOf("of-tomorrow"), network.acks.map { it.receipt })
        }
    }

    /** Set aside, reported, registered again by itself. */
    @Test
    fun damagedDatabaseIsSetAside() = case {
        val home = Files.createTempDirectory("backstop-damaged").toFile()
        FakeNetwork().use { network ->
            TestPhone.on(network) { directory = home }.use { Backstop.logIn("ann", proof) }
            val database = home.walk().first { it.isFile && it.extension in setOf("db", "sqlite", "sqlite3") }
            database.writeBytes(ByteArray(8_192) { (it * 31).toByte() })
            TestPhone.on(network) { directory = home }.use {
                val status = Backstop.status()
                assertEquals(Storage.REPLACED, status.storage)
                assertInstanceOf(Registration.Confirmed::class.java, status.registration)
                assertEquals(Customer.NOBODY, status.customer)
                assertInstanceOf(Ack.Confirmed::class.java, Backstop.handlePush(simulatePush()).ours().ack)
            }
        }
        home.deleteRecursively()
    }

    /** A push is shown and, with a network, acknowledged; what cannot be kept is an error that says so. */
    @Test
    fun fullDisk() = case {
        val home = Files.createTempDirectory("backstop-full").toFile()
        run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", home.path)
        try {
            FakeNetwork().use { network ->
                TestPhone.on(network) { directory = home; config = Log().config() }.use { phone ->
                    fill(File(home, "full"))
                    val error = assertThrows<BackstopException.StorageFull> {
                        runBlocking { repeat(200) { Backstop.logIn("ann-$it-${"x".repeat(90)}", proof) } }
                    }
                    assertTrue(error.message.contains("full"), error.message)
                    repeat(50) { Backstop.handlePush(simulatePush(receipt = "full-$it")).ours() }
                    assertEquals(50, phone.shown.size)
                    assertEquals(50, network.acks.size)
                    network.behave(Behaviour.Offline)
                    val lost = (1..50).map { Backstop.handlePush(simulatePush(receipt = "lost-$it")).ours() }
                    assertEquals(100, phone.shown.size)
                    val failed = lost.map { it.ack }.filterIsInstance<Ack.Failed>()
                    assertTrue(failed.isNotEmpty())
                    assertTrue(failed.all { it.error is BackstopException.StorageFull }, "$failed")
                    File(home, "full").delete()
                    assertEquals(Ack.Stored, Backstop.handlePush(simulatePush()).ours().ack)
                }
            }
        } finally {
            run("umount", home.path)
            home.delete()
        }
    }

    private fun fill(file: File) = file.outputStream().use { out ->
        runCatching { while (true) out.write(ByteArray(512)) }
    }

    private fun run(vararg command: String) {
        val process = ProcessBuilder(*command).redirectErrorStream(true).start()
        val said = process.inputStream.reader().readText()
        check(process.waitFor() == 0) { "${command.joinToString(" ")}: $said" }
    }

    /** The phone's wall clock decides nothing. */
    @Test
    fun clockYearsOff() = case {
        for (startMs in listOf(0L, 4_000_000_000_000)) {
            FakeNetwork().use { network ->
                val clock = VirtualClock(startMs)
                TestPhone.on(network, clock).use {
                    assertInstanceOf(Ack.Confirmed::class.java, Backstop.handlePush(simulatePush()).ours().ack)
                    network.behave(Behaviour.Offline)
                    assertEquals(Ack.Stored, Backstop.handlePush(simulatePush(receipt = "kept")).ours().ack)
                    // Set right, or wrong the other way, while an ack waits.
                    clock.setWall(4_000_000_000_000 - startMs)
                    clock.advance(1.days)
                    network.behave(Behaviour.Work)
                    Backstop.flush()
                    assertTrue(network.acks.any { it.receipt == "kept" })
                }
            }
        }
    }

    /** A cancelled coroutine or Java call ends at once; what it recorded stays. */
    @Test
    fun cancelEndsTheCall() = case {
        withNetwork { network, _ ->
            network.behave(Behaviour.Hang)
            val before = network.requests.size
            val call = launch(Dispatchers.Default) {
                Backstop.handlePush(simulatePush(receipt = "r"), budget = 50.seconds)
            }
            until { network.requests.size > before }
            call.cancel(CancellationException("the customer left"))
            call.join()
            assertTrue(call.isCancelled)
            val answer = CompletableFuture<BackstopException>()
            val java = Backstop.logIn("ann", proof, object : BackstopCallback<Flush> {
                override fun onSuccess(value: Flush) = error("nobody answered")

                override fun onError(error: BackstopException) {
                    answer.complete(error)
                }
            })
            java.cancel()
            assertEquals("cancelled by the caller; what was recorded stays recorded", answer.get().message)
            network.behave(Behaviour.Work)
            Backstop.flush()
            assertEquals(listOf("r"), network.acks.map { it.receipt })
        }
    }

    /** The caller's thread is free while they go. */
    @Test
    fun tenThousandQueuedAcksFlushWithoutBlocking() = case {
        withNetworkInMemory { network ->
            network.behave(Behaviour.Offline)
            (1..10_000).map { async { Backstop.handlePush(simulatePush(receipt = "q-$it"), budget = Duration.ZERO) } }
                .awaitAll()
            assertEquals(10_000, Backstop.status().pending)
            network.behave(Behaviour.Work)
            // One thread for both: the flush must not hold it.
            val turns = withContext(Dispatchers.Default.limitedParallelism(1)) {
                coroutineScope {
                    val flush = async { Backstop.flush(50.seconds) }
                    var turns = 0
                    while (!flush.isCompleted) {
                        Backstop.status()
                        turns++
                    }
                    assertEquals(0, flush.await().pending)
                    turns
                }
            }
            assertTrue(turns > 1, "$turns")
            assertEquals(10_000, network.acks.size)
        }
    }

    /** Invariant 9: whatever goes wrong, a log line holds nothing that is personal or secret. */
    @Test
    fun logsHoldNoSecrets() = case {
        val log = Log()
        val token = "token-that-nobody-reads"
        val hash = "5ec2e7".repeat(10) + "abcd"
        FakeNetwork().use { network ->
            TestPhone.on(network) { this.token = token; config = log.config() }.use { phone ->
                val troubles = listOf(
                    Behaviour.Work,
                    Behaviour.Offline,
                    Behaviour.LoseAnswer,
                    Behaviour.Panic,
                    Behaviour.Refuse(401, "device_proof_required"),
                    Behaviour.Refuse(500, "internal"),
                )
                for ((i, trouble) in troubles.withIndex()) {
                    network.behave(trouble)
                    val data = simulatePush("Titled", "A text", "https://secret.test/", "receipt-hidden-$i")
                    val brief = 100.milliseconds
                    val said = listOf(
                        runCatching { Backstop.logIn("customer-hidden", Proof.Hash(hash), brief) },
                        runCatching { Backstop.handlePush(data, Display.LATER, brief) },
                        runCatching { Backstop.handleTap(data[Backstop.PAYLOAD_KEY]) },
                        runCatching { Backstop.handlePush(data, budget = brief).ours().push }.mapCatching { push ->
                            Backstop.acknowledge(push, Grade.OPENED, budget = brief)
                        },
                        runCatching { Backstop.status() },
                        runCatching { Backstop.logOut(brief) },
                    )
                    log.lines += said.map { "$it ${it.exceptionOrNull()?.message}" }
                    phone.cameToFront()
                    phone.left()
                }
            }
        }
        log.lines += "${Proof.Hash(hash)} ${Proof.Token("jwt-hidden")}"
        log.lines += "${BackstopConfig("https://x.test", "app_hidden")}"
        assertTrue(log.lines.size > 20)
        val secrets = listOf(token, hash, "hidden", "Titled", "A text", "secret.test")
        val told = log.lines.filter { line -> secrets.any { it in line } }
        assertEquals(emptyList<String>(), told)
    }

    /** The exact sentences that a Kotlin developer reads. */
    @Test
    fun errorTexts() = case {
        Backstop.close()
        assertText("NotInitialized: call Backstop.initialize first, in Application.onCreate") { Backstop.status() }
        withNetwork { network, phone ->
            assertText("Invalid: argument: `customerId` is empty") { Backstop.logIn("", proof) }
            network.behave(Behaviour.Panic)
            assertText("Defect: a defect of the SDK: please report it; the SDK goes on working") {
                Backstop.logIn("ann", proof)
            }
            network.behave(Behaviour.Work)
            Backstop.setEnabled(false)
            assertText("Disabled: the SDK is switched off: switch it on again first") { Backstop.logIn("ann", proof) }
            phone.change { unlocked = false }
        }
        FakeNetwork().use { network ->
            TestPhone.on(network) { unlocked = false }.use { phone ->
                assertText(
                    "StorageUnusable: the phone was not unlocked since its start, and its storage is closed until then",
                ) { Backstop.status() }
                // Direct boot: shown at once, and all well once the customer unlocks.
                assertTrue(Backstop.handlePush(simulatePush()).ours().shown)
                phone.change { unlocked = true }
                assertNotNull(Backstop.setPushToken("t").registration)
                assertNull(Backstop.status().lastFailure)
            }
        }
    }

    private fun assertText(text: String, call: suspend () -> Any) {
        val error = assertThrows<BackstopException> { runBlocking { call() } }
        assertEquals("BackstopException.$text", error.toString())
    }

    /** D3, D4: in front = active, with a heartbeat well within 60 s and the time since the last touch; then left. */
    @Test
    fun presenceFollowsTheApp() = case {
        FakeNetwork().use { network ->
            val clock = VirtualClock()
            TestPhone.on(network, clock).use { phone ->
                fun told() = network.requests.filter { it.path == "/v1/presence" }.map { it.body }
                phone.cameToFront()
                until { told().size == 1 }
                // Whoever pauses is woken by the clock; a heartbeat that is not there yet comes at its first look.
                while (told().size < 2) clock.advance(45.seconds)
                Backstop.noteActivity()
                phone.left()
                until { told().last().contains("left") }
                assertTrue(told().first().contains(""""state":"active""""), told().first())
                assertTrue(told().first().contains(""""idle_ms":0"""), told().first())
                assertTrue(told()[1].contains(""""idle_ms":"""), told()[1])
            }
        }
    }
}
