// A server with a certificate that only its own authority vouches for.
package dev.backstop.cases

import com.sun.net.httpserver.HttpsConfigurator
import com.sun.net.httpserver.HttpsServer
import java.io.File
import java.net.InetSocketAddress
import java.nio.file.Files
import java.security.KeyStore
import javax.net.ssl.KeyManagerFactory
import javax.net.ssl.SSLContext

/** Registers every device as `dev_tls`. */
class TlsServer : AutoCloseable {
    private val home: File = Files.createTempDirectory("backstop-tls").toFile()
    private val server: HttpsServer

    /** The authority's certificate, in PEM. */
    val root: String

    init {
        val name = arrayOf("-dname", "CN=A company's own")
        keytool("-genkeypair", "-alias", "ca", "-keyalg", "EC", "-ext", "bc:c", *name)
        keytool("-genkeypair", "-alias", "leaf", "-keyalg", "EC", "-dname", "CN=localhost")
        keytool("-certreq", "-alias", "leaf", "-file", "leaf.csr")
        keytool(
            "-gencert", "-alias", "ca", "-infile", "leaf.csr", "-outfile", "leaf.pem", "-rfc",
            "-ext", "san=dns:localhost,ip:127.0.0.1", "-ext", "eku=serverAuth",
        )
        keytool("-exportcert", "-alias", "ca", "-file", "root.pem", "-rfc")
        root = File(home, "root.pem").readText()
        File(home, "chain.pem").writeText(File(home, "leaf.pem").readText() + root)
        keytool("-importcert", "-alias", "leaf", "-file", "chain.pem", "-noprompt")
        keytool("-delete", "-alias", "ca")
        val keys = KeyStore.getInstance(File(home, "keys"), PASSWORD.toCharArray())
        val managers = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm())
        managers.init(keys, PASSWORD.toCharArray())
        val context = SSLContext.getInstance("TLS").apply { init(managers.keyManagers, null, null) }
        server = HttpsServer.create(InetSocketAddress("127.0.0.1", 0), 0)
        server.httpsConfigurator = HttpsConfigurator(context)
        server.createContext("/") { exchange ->
            val answer = """{"device_id":"dev_tls","device_key":"key"}""".toByteArray()
            exchange.requestBody.readAllBytes()
            exchange.sendResponseHeaders(200, answer.size.toLong())
            exchange.responseBody.use { it.write(answer) }
        }
        server.start()
    }

    val url get() = "https://localhost:${server.address.port}"

    private fun keytool(vararg arguments: String) {
        val program = File(System.getProperty("java.home"), "bin/keytool").path
        val store = listOf("-keystore", "keys", "-storetype", "PKCS12", "-storepass", PASSWORD)
        val command = listOf(program, "-J-XX:TieredStopAtLevel=1", *arguments) + store
        val process = ProcessBuilder(command).directory(home).redirectErrorStream(true).start()
        val said = process.inputStream.reader().readText()
        check(process.waitFor() == 0) { said }
    }

    override fun close() {
        server.stop(0)
        home.deleteRecursively()
    }

    private companion object {
        const val PASSWORD = "changeit"
    }
}
