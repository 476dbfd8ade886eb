// What can go wrong for a host app: one case for each thing that it can do about it.
package dev.backstop

/**
 * Why a call failed. Being offline is not among them for what is kept: an ack or a log-in goes later by itself.
 *
 * [message] is one English sentence for a developer's log. It holds no token, key, receipt or customer.
 */
sealed class BackstopException(override val message: String) : Exception(message) {
    /** Call [Backstop.initialize] first, in `Application.onCreate`, in the app's main process. */
    class NotInitialized(message: String) : BackstopException(message)

    /** Mend the setting or argument [name]; nothing was stored. */
    class Invalid(val name: String, message: String) : BackstopException(message)

    /** The device's disk is full and nothing was stored: call again when there is room. */
    class StorageFull(message: String) : BackstopException(message)

    /** The SDK's storage cannot be used now: call again, unlock the phone, or update the app, as the sentence says. */
    class StorageUnusable(message: String) : BackstopException(message)

    /** The call needs a registered device: give the push token first. */
    class NotRegistered(message: String) : BackstopException(message)

    /** The server was not reached, or its answer was lost: try again later. */
    class Unreachable(message: String) : BackstopException(message)

    /** The server said no: HTTP [status], and the problem's [code] (`rate_limited`) or an empty text. */
    class Refused(val status: Int, val code: String, message: String) : BackstopException(message)

    /** The SDK was switched off with [Backstop.setEnabled]: nothing is kept or sent until it is switched on again. */
    class Disabled(message: String) : BackstopException(message)

    /** The caller of a Java overload cancelled. What was recorded before stays recorded. */
    class Cancelled(message: String) : BackstopException(message)

    /** A defect of the SDK: please report it. The app goes on, and so does the SDK. */
    class Defect(message: String) : BackstopException(message)

    /** The case and its sentence. */
    override fun toString() = "BackstopException.${javaClass.simpleName}: $message"
}
