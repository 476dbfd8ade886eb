// A push, what the app did with it, and what became of its acknowledgement.
package dev.backstop

import kotlin.time.Duration

/** A push of Backstop's. [toString] leaves out what is personal. */
class Push internal constructor(
    /** `fu_…`; empty for a self-test's push. */
    val followupId: String,
    /** The company's id of the conversation. */
    val conversationId: String,
    /** Who answered. */
    val title: String,
    /** What they said. */
    val body: String,
    /** Pushes with the same key replace each other. */
    val collapseKey: String,
    /** RFC 3339 UTC: after this a text may have gone out instead. */
    val expiresAt: String,
    internal val receipt: String,
    internal val link: String?,
) {
    override fun toString() = "Push($followupId)"
}

/** Who shows a push. */
enum class Display {
    /** Backstop posts a notification in [BackstopConfig.channel]. */
    BACKSTOP,

    /** The app shows it right away, in that channel. */
    APP,

    /** The app decides later, and says so with [Backstop.acknowledge]. */
    LATER,
}

/** How far a push got. */
enum class Grade {
    /** Arrived, but the customer cannot see it. */
    SUPPRESSED,

    /** Arrived in the app's process. */
    RECEIVED,

    /** Handed to the system for display while alerts and the channel allow it. */
    DISPLAYED,

    /** The customer tapped it. */
    OPENED,
}

/** What became of an incoming message. */
sealed interface PushResult {
    /** It is not Backstop's: handle it as before. */
    object NotOurs : PushResult {
        override fun toString() = "NotOurs"
    }

    /** It is acknowledged as [ack] says, whatever went wrong with that, and shown if [shown]. */
    class Ours internal constructor(val push: Push, val shown: Boolean, val ack: Ack) : PushResult {
        override fun toString() = "Ours($push, shown $shown, $ack)"
    }
}

/** What became of a tap. */
sealed interface TapResult {
    /** It is no tap on a push of Backstop's. */
    object NotOurs : TapResult {
        override fun toString() = "NotOurs"
    }

    /** Follow the [link], if there is one: it is handed out once, and only if its scheme is allowed. */
    class Ours internal constructor(val push: Push, val link: String?, val ack: Ack) : TapResult {
        override fun toString() = "Ours($push, ${if (link == null) "no link" else "a link"}, $ack)"
    }
}

/** What became of an acknowledgement. */
sealed interface Ack {
    /** The server answered; [counted] = enough to settle the follow-up, so that no text goes out. */
    data class Confirmed(val result: AckResult, val counted: Boolean) : Ack

    /** It is durable on the device and goes by itself. */
    object Stored : Ack {
        override fun toString() = "Stored"
    }

    /** It is neither stored nor sent: a text goes out in its place. */
    data class Failed(val error: BackstopException) : Ack
}

/** The server's word on an acknowledgement. */
enum class AckResult {
    /** Recorded before a fallback was decided. */
    ACCEPTED,

    /** Recorded after it. */
    LATE,

    /** The same or a higher grade was recorded before. */
    DUPLICATE,

    /** Everything else. */
    REFUSED,

    /** A word of a newer server; final as well. */
    UNKNOWN,
}

/** What a call got done. What still waits goes by itself. */
data class Flush(
    /** Acks that the server answered since the call began. */
    val uploaded: Long,
    /** Acks that still wait. */
    val pending: Long,
    /** Where the registration stands. */
    val registration: Registration,
    /** When the SDK tries again; `null` = only when something new happens. */
    val nextFlushIn: Duration?,
    /** Why the last request got no final answer, in a sentence. */
    val lastFailure: String?,
)
