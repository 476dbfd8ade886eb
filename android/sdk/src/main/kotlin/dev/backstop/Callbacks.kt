// The same calls for Java: a callback in place of a suspend function.
package dev.backstop

/** Takes the result of a call, on the main thread. */
interface BackstopCallback<in T> {
    fun onSuccess(value: T)

    fun onError(error: BackstopException)
}

/** A call under way. */
fun interface BackstopCall {
    /** Ends it with [BackstopException.Cancelled]; what was recorded stays recorded. Later than its end: nothing. */
    fun cancel()
}
