// What the host app tells the SDK once: where the server is, who the app is, how pushes are shown.
package dev.backstop

/**
 * Set-up of [Backstop]; the first two are needed, the rest has defaults.
 *
 * @property baseUrl The server, `https://push.example.com`, with a path prefix if it has one.
 * @property appKey The workspace's `app_…` key.
 * @property channel Where pushes are shown.
 * @property linkSchemes Schemes of links that a tap may hand to the app, without a colon: `https`, `acme`.
 * @property logLevel How much is logged.
 * @property logger Takes the SDK's log; `null` = the system's log, under the tag `Backstop`.
 * @property extraRootCertificates Root certificates in PEM beside Mozilla's, for a server under a company's own
 *   authority. Android's own and its network security configuration do not count here.
 * @property allowHttp Plain `http://` to other machines than this one; ignored unless the app is debuggable.
 */
class BackstopConfig @JvmOverloads constructor(
    val baseUrl: String,
    val appKey: String,
    val channel: BackstopChannel = BackstopChannel(),
    val linkSchemes: Set<String> = setOf("https"),
    val logLevel: LogLevel = LogLevel.WARN,
    val logger: BackstopLogger? = null,
    val extraRootCertificates: List<String> = emptyList(),
    val allowHttp: Boolean = false,
) {
    // A logger is often a new object with each call, and changes nothing of what the SDK does.
    private val essence
        get() = listOf(baseUrl, appKey, channel, linkSchemes, logLevel, extraRootCertificates, allowHttp)

    override fun equals(other: Any?) = other is BackstopConfig && other.essence == essence

    override fun hashCode() = essence.hashCode()

    override fun toString() = "BackstopConfig($baseUrl, channel ${channel.id})"
}

/**
 * The notification channel that pushes are shown in. It is made when the first push is shown; a channel of the app's
 * own with that id stays as it is.
 *
 * @property id Of the channel.
 * @property name What the customer reads in the system's settings.
 * @property smallIcon A drawable of the app, white on transparent; 0 = the app's icon.
 */
data class BackstopChannel @JvmOverloads constructor(
    val id: String = "backstop",
    val name: String = "Messages",
    val smallIcon: Int = 0,
)

/** How much is logged, in rising order. */
enum class LogLevel {
    /** Nothing. */
    NONE,

    /** What lost something or needs a developer. */
    ERROR,

    /** What went wrong and mends itself. The default. */
    WARN,

    /** What happened. */
    INFO,

    /** Everything. */
    DEBUG,
}

/** Takes the SDK's log. Lines hold no token, key, receipt, text or customer. Called from a background thread. */
fun interface BackstopLogger {
    fun log(level: LogLevel, message: String)
}

/** Marks what only Backstop's own modules use. It may change with any version. */
@RequiresOptIn(message = "Internal to Backstop: it may change with any version.", level = RequiresOptIn.Level.ERROR)
@Target(AnnotationTarget.CLASS, AnnotationTarget.FUNCTION, AnnotationTarget.PROPERTY, AnnotationTarget.CONSTRUCTOR)
annotation class InternalBackstopApi
