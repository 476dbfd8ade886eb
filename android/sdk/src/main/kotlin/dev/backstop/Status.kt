// What is known of this installation: who, registered how, and what is missing.
package dev.backstop

import kotlin.time.Duration

/** Proof by the company's backend that this is its customer. */
sealed interface Proof {
    /** Lower-case hex HMAC-SHA256 of the customer id under the workspace's identity secret, 64 characters. */
    class Hash(internal val hash: String) : Proof {
        override fun toString() = "Proof.Hash"
    }

    /** A JWT in its compact form. */
    class Token(internal val token: String) : Proof {
        override fun toString() = "Proof.Token"
    }
}

/** Whether the system lets the app show notifications. */
enum class Alerts {
    /** Shown in full. */
    ALLOWED,

    /** Shown without sound: a quiet channel. */
    QUIET,

    /** The customer said no, or switched the channel off. */
    DENIED,

    /** The app has not asked yet. */
    NOT_ASKED,
}

/** Where the registration stands. */
sealed interface Registration {
    /** There is no push token yet. */
    object NoToken : Registration {
        override fun toString() = "NoToken"
    }

    /** What the app gave last has not reached the server. */
    object Pending : Registration {
        override fun toString() = "Pending"
    }

    /** The server knows what the app gave last, since [atMs] by the device's clock (UTC, since 1970). */
    data class Confirmed(val atMs: Long) : Registration

    /** The server refuses it; the code `identity_required` asks for [Backstop.logIn] with a fresh proof. */
    data class Refused(val code: String) : Registration
}

/** Who is logged in. */
enum class Customer {
    /** Nobody, or the log-out is not confirmed yet. */
    NOBODY,

    /** A log-in that the server has not confirmed. */
    CLAIMED,

    /** The server knows it. */
    BOUND,
}

/** How the storage was found. */
enum class Storage {
    /** There was none; it was made. */
    CREATED,

    /** It was there. */
    OPENED,

    /** It was there in an older form. */
    UPGRADED,

    /** It was damaged and lies beside the new one: call [Backstop.logIn] again. */
    REPLACED,

    /** The SDK is switched off: there is none. */
    OFF,
}

/** What is known of this installation, without secrets. */
data class Status(
    /** Whether the SDK is switched on. */
    val enabled: Boolean,
    /** Made once by the SDK; empty when it is switched off. */
    val installId: String,
    /** Given by the server. */
    val deviceId: String?,
    /** Where the registration stands. */
    val registration: Registration,
    /** Who is logged in, as far as the server knows. */
    val customer: Customer,
    /** Whether notifications can be seen, as the server was told last. */
    val alerts: Alerts,
    /** Acks that still wait. */
    val pending: Long,
    /** When the SDK tries again. */
    val nextFlushIn: Duration?,
    /** Why the last request got no final answer, in a sentence. */
    val lastFailure: String?,
    /** How the storage was found. */
    val storage: Storage,
)

/** A self-test's findings, in the order in which they matter. */
data class SelfTest(
    /** Everything that was looked at. */
    val findings: List<Finding>,
    /** From asking the server for a push to its arrival here. */
    val pushTook: Duration?,
    /** From its arrival to the server's answer to its ack. */
    val ackTook: Duration?,
) {
    /** Whether nothing stands in the way of acknowledged pushes. */
    val passed get() = findings.none { it.level == Finding.Level.FAILED }

    /** One line for each finding, with what mends it: made to be read in a log. */
    override fun toString() = buildString {
        append(if (passed) "Backstop works." else "Backstop does not work yet.")
        pushTook?.let { append(" A push took $it") }
        ackTook?.let { append(", its acknowledgement $it more") }
        if (pushTook != null) append('.')
        findings.forEach { append('\n').append(it) }
    }
}

/** One thing that a self-test looked at. */
data class Finding(
    /** Which: `token`, `registration`, `permission`, `channel`, `test_push`, … */
    val check: String,
    /** How much it matters. */
    val level: Level,
    /** What was found, in a sentence. */
    val said: String,
    /** What mends it, in a sentence. */
    val mend: String?,
) {
    /** How much a finding matters. */
    enum class Level {
        /** As it should be. */
        OK,

        /** Works, and could be better. */
        WARNING,

        /** Pushes will not be acknowledged. */
        FAILED,

        /** Could not be found out. */
        UNKNOWN,
    }

    override fun toString() = "[${level.name.lowercase()}] $check: $said" + mend?.let { "\n    mend: $it" }.orEmpty()
}
