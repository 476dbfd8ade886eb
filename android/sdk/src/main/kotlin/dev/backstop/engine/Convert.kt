// Between the generated types and the public ones.
package dev.backstop.engine

import dev.backstop.Ack
import dev.backstop.AckResult
import dev.backstop.Alerts
import dev.backstop.BackstopException
import dev.backstop.Customer
import dev.backstop.Finding
import dev.backstop.Flush
import dev.backstop.Grade
import dev.backstop.LogLevel
import dev.backstop.Proof
import dev.backstop.Push
import dev.backstop.Registration
import dev.backstop.SelfTest
import dev.backstop.Status
import dev.backstop.Storage
import dev.backstop.internal.InternalException
import dev.backstop.internal.SdkException
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.CancellationException

/** Runs a call of the library; what it throws comes out as the app knows it. */
internal inline fun <T> typed(call: () -> T): T = try {
    call()
} catch (error: SdkException) {
    throw error.toPublic()
} catch (_: InternalException) {
    // A panic's own text is written for us and may quote anything.
    throw BackstopException.Defect("a defect of the SDK: please report it; the SDK goes on working")
} catch (error: IllegalStateException) {
    // Another call found the storage broken and closed it. A cancelled coroutine is no such thing.
    if (error is CancellationException) throw error
    throw BackstopException.StorageUnusable("the SDK's storage was closed meanwhile: call again")
} catch (error: LinkageError) {
    throw BackstopException.Defect("the SDK's library does not load on this phone: ${error.javaClass.simpleName}")
}

internal fun SdkException.toPublic(): BackstopException = when (this) {
    is SdkException.Invalid -> BackstopException.Invalid(name, explanation)
    is SdkException.StorageFull -> BackstopException.StorageFull(explanation)
    is SdkException.StorageUnusable -> BackstopException.StorageUnusable(explanation)
    is SdkException.NotRegistered -> BackstopException.NotRegistered(explanation)
    is SdkException.Unreachable -> BackstopException.Unreachable(explanation)
    is SdkException.Refused -> BackstopException.Refused(status.toInt(), code, explanation)
    is SdkException.Disabled -> BackstopException.Disabled(explanation)
    is SdkException.Cancelled -> BackstopException.Cancelled(explanation)
}

internal fun Duration.toFfi(): ULong = inWholeMilliseconds.coerceAtLeast(0).toULong()

private fun ULong.toPublic(): Duration = toLong().milliseconds

/** As the library does it: its own scheme check cannot be asked when the library cannot be opened. */
internal fun Push.allowedLink(schemes: Set<String>): String? = link?.takeIf { link ->
    link.length <= 2_048 && link.none { it.isISOControl() || it.isWhitespace() } &&
        schemes.any { link.startsWith("$it:", ignoreCase = true) && link.length > it.length + 1 }
}

internal fun Proof.toFfi() = when (this) {
    is Proof.Hash -> dev.backstop.internal.Proof.Hash(hash)
    is Proof.Token -> dev.backstop.internal.Proof.Token(token)
}

internal fun Alerts.toFfi() = dev.backstop.internal.Alerts.valueOf(name)

internal fun Grade.toFfi() = dev.backstop.internal.Grade.valueOf(name)

internal fun LogLevel.toFfi() = dev.backstop.internal.LogLevel.valueOf(name)

internal fun dev.backstop.internal.LogLevel.toPublic() = LogLevel.valueOf(name)

internal fun dev.backstop.internal.Push.toPublic() =
    Push(followupId, conversationId, title, body, collapseKey, expiresAt, receipt, link)

internal fun dev.backstop.internal.Acked.toPublic(): Ack = when (this) {
    is dev.backstop.internal.Acked.Confirmed -> Ack.Confirmed(AckResult.valueOf(outcome.result.name), outcome.counted)
    is dev.backstop.internal.Acked.Stored -> Ack.Stored
}

internal fun dev.backstop.internal.Registration.toPublic(): Registration = when (this) {
    is dev.backstop.internal.Registration.NoToken -> Registration.NoToken
    is dev.backstop.internal.Registration.Pending -> Registration.Pending
    is dev.backstop.internal.Registration.Confirmed -> Registration.Confirmed(atMs)
    is dev.backstop.internal.Registration.Refused -> Registration.Refused(code)
}

internal fun dev.backstop.internal.Flushed.toPublic() = Flush(
    uploaded.toLong(),
    pending.toLong(),
    registration.toPublic(),
    nextFlushInMs?.toPublic(),
    lastFailure,
)

internal fun dev.backstop.internal.Status.toPublic() = Status(
    enabled,
    installId,
    deviceId,
    registration.toPublic(),
    Customer.valueOf(customer.name),
    Alerts.valueOf(alerts.name),
    pending.toLong(),
    nextFlushInMs?.toPublic(),
    lastFailure,
    Storage.valueOf(storage.name),
)

internal fun dev.backstop.internal.SelfTest.toPublic() =
    SelfTest(findings.map { it.toPublic() }, pushTookMs?.toPublic(), ackTookMs?.toPublic())

private fun dev.backstop.internal.Finding.toPublic() =
    Finding(check, Finding.Level.valueOf(level.name), said, mend)
