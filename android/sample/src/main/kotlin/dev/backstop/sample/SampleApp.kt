// An app that shows what Backstop does: log lines, the state, a self-test.
package dev.backstop.sample

import android.app.Activity
import android.app.Application
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.widget.Button
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import dev.backstop.Backstop
import dev.backstop.BackstopConfig
import dev.backstop.BackstopException
import dev.backstop.LogLevel
import dev.backstop.Proof
import dev.backstop.TapResult
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch

/** Against `backstop serve --sandbox` on the machine whose emulator this runs on. */
class SampleApp : Application() {
    override fun onCreate() {
        super.onCreate()
        val config = BackstopConfig(
            baseUrl = "http://10.0.2.2:8080",
            appKey = "app_sandbox",
            logLevel = LogLevel.DEBUG,
            logger = { level, message -> Lines.add("$level $message") },
            allowHttp = true,
        )
        Backstop.initialize(this, config)
    }
}

/** What is on the screen. */
private object Lines {
    var show: (String) -> Unit = {}
    private val lines = ArrayDeque<String>()

    @Synchronized
    fun add(line: String) {
        lines.addFirst(line)
        while (lines.size > 100) lines.removeLast()
        show(lines.joinToString("\n\n"))
    }
}

class MainActivity : Activity() {
    private val scope = CoroutineScope(Dispatchers.Default)

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        val text = TextView(this).apply { setTextIsSelectable(true) }
        Lines.show = { runOnUiThread { text.text = it } }
        setContentView(LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            addView(button("Log in as Ann") { Backstop.logIn("ann", Proof.Hash(ANN)) })
            addView(button("Status") { Backstop.status() })
            addView(button("Self-test") { Backstop.selfTest() })
            addView(ScrollView(context).apply { addView(text) })
        })
        Backstop.requestNotificationPermission(this)
        follow(intent)
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        follow(intent)
    }

    override fun onUserInteraction() = Backstop.noteActivity()

    override fun onDestroy() {
        Lines.show = {}
        scope.cancel()
        super.onDestroy()
    }

    private fun follow(intent: Intent?) = run {
        val tap = Backstop.handleTap(intent)
        (tap as? TapResult.Ours)?.link?.let { startActivity(Intent(Intent.ACTION_VIEW, Uri.parse(it))) }
        tap
    }

    private fun button(label: String, call: suspend () -> Any) = Button(this).apply {
        text = label
        setOnClickListener { run(call) }
    }

    private fun run(call: suspend () -> Any) {
        scope.launch {
            try {
                Lines.add("${call()}")
            } catch (error: BackstopException) {
                Lines.add("$error")
            }
        }
    }

    private companion object {
        /** Of `ann`, under the sandbox's identity secret of 64 zeros; a real one comes from your backend. */
        const val ANN = "78352bae17eb6789b087bccad1370630a54d2ac28874e5be281538683767823c"
    }
}
