// The cases against a real `backstop serve --sandbox`.
package dev.backstop.cases

import dev.backstop.AckResult
import dev.backstop.Alerts
import dev.backstop.Backstop
import dev.backstop.BackstopConfig
import dev.backstop.BackstopException
import dev.backstop.Customer
import dev.backstop.Finding
import dev.backstop.LogLevel
import dev.backstop.Registration
import dev.backstop.Storage
import dev.backstop.TapResult
import dev.backstop.testing.Sandbox
import dev.backstop.testing.TestPhone
import dev.backstop.testing.TestPhoneSettings
import dev.backstop.testing.simulatePush
import java.io.File
import java.nio.file.Files
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.async
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.yield
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertInstanceOf
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class ServerCases {
    /** C4: a new token keeps the device; the same one again asks nobody. */
    @Test
    fun registerAndRefresh() = case {
        withSandbox { _, phone ->
            val first = Backstop.status()
            assertInstanceOf(Registration.Confirmed::class.java, first.registration)
            assertNotNull(first.deviceId)
            phone.change { token = "another-token" }
            val refreshed = Backstop.setPushToken("another-token")
            assertInstanceOf(Registration.Confirmed::class.java, refreshed.registration)
            assertEquals(first.deviceId, Backstop.status().deviceId)
        }
    }

    /** C1, C2: a token belongs to one customer at a time. */
    @Test
    fun logInLogOutMove() = case {
        withSandbox { sandbox, phone ->
            sandbox.putCustomer("bob", phone = "+821087654321", email = "bob@example.com")
            phone.logIn("ann")
            assertEquals(Customer.BOUND, Backstop.status().customer)
            sandbox.reply("ann", "for Ann")
            assertEquals(listOf("for Ann"), phone.receivePushes().map { it.ours().push.body })
            phone.logIn("bob")
            sandbox.reply("ann", "for Ann, whose phone is now Bob's")
            sandbox.reply("bob", "for Bob")
            assertEquals(listOf("for Bob"), phone.receivePushes().map { it.ours().push.body })
            Backstop.logOut()
            assertEquals(Customer.NOBODY, Backstop.status().customer)
            sandbox.reply("bob", "for Bob, who is gone")
            assertEquals(0, phone.receivePushes().size)
            val forged = runCatching { Backstop.logIn("ann", sandbox.proof("bob")) }.getOrThrow()
            assertInstanceOf(Registration.Refused::class.java, forged.registration)
        }
    }

    /** P2, P7, P8: a push that the customer can see, acknowledged in time, means no text. */
    @Test
    fun pushAccepted() = case {
        withSandbox { sandbox, phone ->
            phone.logIn("ann")
            val followup = sandbox.reply("ann", "Your parcel is on its way")
            val result = phone.receivePushes().single().ours()
            assertTrue(result.shown)
            assertEquals(listOf("Your parcel is on its way"), phone.shown.bodies)
            assertEquals(AckResult.ACCEPTED to true, result.ack.confirmed().let { it.result to it.counted })
            sandbox.advance(30.seconds)
            assertEquals("acked", sandbox.followup(followup).state)
            assertEquals(0, sandbox.texts().size + sandbox.emails().size)
        }
    }

    /** D9, C4: the same push again changes nothing. */
    @Test
    fun pushDuplicate() = case {
        withSandbox { sandbox, phone ->
            phone.logIn("ann")
            sandbox.reply("ann", "Hello")
            phone.receivePushes()
            val again = Backstop.handlePush(sandbox.pushes().single().data).ours()
            assertEquals(AckResult.DUPLICATE, again.ack.confirmed().result)
            // The server repeats a push when it does not know whether it left: the customer sees it once.
            assertFalse(again.shown)
            assertEquals(1, phone.shown.size)
        }
    }

    /** P8: after the decision an ack is late, and the outcome stays. */
    @Test
    fun pushLate() = case {
        withSandbox { sandbox, phone ->
            phone.logIn("ann")
            val followup = sandbox.reply("ann", "Hello")
            sandbox.advance(30.seconds)
            assertEquals(AckResult.LATE, phone.receivePushes().single().ours().ack.confirmed().result)
            val stands = sandbox.followup(followup)
            assertEquals("fell_back", stands.state)
            assertNotNull(stands.lateAckAt)
        }
    }

    /** P7: a push that cannot be seen falls back at once, and the server knows why. */
    @Test
    fun pushSuppressed() = case {
        withSandbox { sandbox, phone ->
            phone.logIn("ann")
            val followup = sandbox.reply("ann", "Hello")
            // The server has not heard of it when the push leaves.
            phone.change { channelOn = false }
            val result = phone.receivePushes().single().ours()
            assertFalse(result.shown)
            assertEquals(AckResult.ACCEPTED to false, result.ack.confirmed().let { it.result to it.counted })
            sandbox.advance(0.seconds)
            assertEquals("fell_back" to "channel_off", sandbox.followup(followup).let { it.state to it.reason })
            assertEquals(1, sandbox.texts().size)
            // The server hears of it, too: the next reply waits for nobody.
            while (Backstop.status().alerts != Alerts.DENIED) yield()
        }
        // P4, P5: a phone that is known to show nothing is not waited for.
        Sandbox.create().use { sandbox ->
            sandbox.putCustomer("ann")
            TestPhone.on(sandbox, { alerts = Alerts.DENIED }).use { phone ->
                phone.logIn("ann")
                val followup = sandbox.reply("ann", "Hello")
                sandbox.advance(0.seconds)
                assertEquals("fell_back", sandbox.followup(followup).state)
                assertEquals(0 to 1, sandbox.pushes().size to sandbox.texts().size)
            }
        }
    }

    /** P11: a receipt that nobody sent is refused, and the push is shown all the same. */
    @Test
    fun pushRefused() = case {
        withSandbox { _, phone ->
            val result = Backstop.handlePush(simulatePush(receipt = "Zm9yZ2Vk")).ours()
            assertEquals(AckResult.REFUSED to false, result.ack.confirmed().let { it.result to it.counted })
            assertEquals(1, phone.shown.size)
        }
    }

    /** P3: 30 s are a ceiling; nothing leaves a millisecond before. */
    @Test
    fun noAckFallsBackAt30s() = case {
        withSandbox { sandbox, phone ->
            phone.logIn("ann")
            val followup = sandbox.reply("ann", "Hello")
            sandbox.advance(29_999.milliseconds)
            assertEquals("awaiting_ack", sandbox.followup(followup).state)
            assertEquals(0, sandbox.texts().size + sandbox.emails().size)
            sandbox.advance(1.milliseconds)
            assertEquals("fell_back" to "no_ack", sandbox.followup(followup).let { it.state to it.reason })
            assertEquals(1 to 1, sandbox.texts().size to sandbox.emails().size)
        }
    }

    /** P14: once, only schemes that the app allows, also when the tap starts the app. */
    @Test
    fun tapHandsOutTheLinkOnce() = case {
        withSandbox { sandbox, phone ->
            phone.logIn("ann")
            sandbox.reply("ann", "Look", link = "https://example.com/chat/1")
            val payload = sandbox.pushes().single().data[Backstop.PAYLOAD_KEY]
            val tap = assertInstanceOf(TapResult.Ours::class.java, Backstop.handleTap(payload))
            assertEquals("https://example.com/chat/1", tap.link)
            val again = assertInstanceOf(TapResult.Ours::class.java, Backstop.handleTap(payload))
            assertNull(again.link)
            val foreign = simulatePush(link = "javascript:alert(1)")[Backstop.PAYLOAD_KEY]
            assertNull(assertInstanceOf(TapResult.Ours::class.java, Backstop.handleTap(foreign)).link)
            assertEquals(TapResult.NotOurs, Backstop.handleTap("""{"theirs":true}"""))
        }
        // From a cold start: nothing but the intent is there yet.
        Sandbox.create().use { sandbox ->
            TestPhone.on(sandbox, { token = null }).use {
                val cold = simulatePush(link = "https://example.com/cold")[Backstop.PAYLOAD_KEY]
                assertEquals("https://example.com/cold", (Backstop.handleTap(cold) as TapResult.Ours).link)
            }
        }
    }

    /** Off: the server forgets the device, nothing stays here; the choice survives a restart. */
    @Test
    fun disabledDeletesEverything() = case {
        val home = Files.createTempDirectory("backstop-off").toFile()
        Sandbox.create().use { sandbox ->
            sandbox.putCustomer("ann")
            TestPhone.on(sandbox) { directory = home }.use { phone ->
                phone.logIn("ann")
                assertTrue(sandbox.request("GET", "/v1/customers/ann/devices").contains("dev_"))
                Backstop.setEnabled(false)
                assertFalse(sandbox.request("GET", "/v1/customers/ann/devices").contains("dev_"))
                val status = Backstop.status()
                assertEquals(false to Storage.OFF, status.enabled to status.storage)
                assertEquals("", status.installId)
                val bytes = home.walk().filter(File::isFile).sumOf { it.length() }
                assertTrue(bytes < 64, "$bytes bytes are left: ${home.walk().toList()}")
            }
            TestPhone.on(sandbox) { directory = home }.use { phone ->
                assertFalse(Backstop.status().enabled)
                val push = Backstop.handlePush(simulatePush()).ours()
                assertFalse(push.shown)
                assertInstanceOf(BackstopException.Disabled::class.java, (push.ack as dev.backstop.Ack.Failed).error)
                Backstop.setEnabled(true)
                assertInstanceOf(Registration.Confirmed::class.java, Backstop.status().registration)
                phone.logIn("ann")
                assertTrue(sandbox.request("GET", "/v1/customers/ann/devices").contains("dev_"))
            }
        }
        home.deleteRecursively()
    }

    /** A real push through the server; every finding says what mends it. */
    @Test
    fun selfTestSpeaks() = case {
        val well = selfTest()
        assertTrue(well.passed, "$well")
        assertTrue(well.findings.all { it.level == Finding.Level.OK }, "$well")
        assertNotNull(well.pushTook)
        assertNotNull(well.ackTook)
        assertTrue("$well".startsWith("Backstop works. A push took "), "$well")
        found("permission", Finding.Level.FAILED) { alerts = Alerts.DENIED }
        found("permission", Finding.Level.FAILED) { alerts = Alerts.NOT_ASKED }
        found("permission", Finding.Level.WARNING) { alerts = Alerts.QUIET }
        found("channel", Finding.Level.FAILED) { channelOn = false }
        found("background", Finding.Level.WARNING) { backgroundAllowed = false }
        found("push_service", Finding.Level.FAILED) { pushServiceProblem = "Google Play services: SERVICE_MISSING" }
        found("registration", Finding.Level.FAILED) { token = null }
    }

    private suspend fun found(check: String, level: Finding.Level, settings: TestPhoneSettings.() -> Unit) {
        val test = selfTest(settings)
        val finding = test.findings.first { it.check == check }
        assertEquals(level, finding.level, "$test")
        assertNotNull(finding.mend, "$test")
        assertTrue("$test".contains("[${level.name.lowercase()}] $check: "), "$test")
    }

    private suspend fun selfTest(settings: TestPhoneSettings.() -> Unit = {}) = Sandbox.create().use { sandbox ->
        TestPhone.on(sandbox, settings).use { phone ->
            sandbox.putCustomer("ann")
            phone.logIn("ann")
            coroutineScope {
                val test = async { Backstop.selfTest() }
                // Firebase's part.
                while (test.isActive) {
                    val push = sandbox.pushes().firstOrNull()
                    if (push != null) {
                        Backstop.handlePush(push.data).ours()
                        break
                    }
                    yield()
                }
                test.await()
            }
        }
    }

    /** A server under a company's own authority: refused with a word on TLS, taken once its root is given. */
    @Test
    fun wrongCertificate() = case {
        TlsServer().use { server ->
            fun settings(roots: List<String>): TestPhoneSettings.() -> Unit = {
                token = null
                config = { _, appKey ->
                    BackstopConfig(server.url, appKey, logLevel = LogLevel.NONE, extraRootCertificates = roots)
                }
            }
            Sandbox.create().use { sandbox ->
                TestPhone.on(sandbox, settings(emptyList())).use {
                    Backstop.setPushToken("token", 500.milliseconds)
                    val status = Backstop.status()
                    assertEquals(Registration.Pending, status.registration)
                    assertTrue(status.lastFailure.orEmpty().contains("TLS"), "${status.lastFailure}")
                    val told = Backstop.selfTest(1.seconds).findings.first { it.check == "server" }
                    assertEquals(Finding.Level.FAILED, told.level)
                    assertTrue(told.mend.orEmpty().contains("extraRootCertificates"), "$told")
                }
                TestPhone.on(sandbox, settings(listOf(server.root))).use {
                    Backstop.setPushToken("token")
                    assertEquals("dev_tls", Backstop.status().deviceId)
                }
            }
        }
    }
}
