// Pushy's validating stand-in for APNs. Arguments: port, certificate, its key, public key of the provider, team,
// key id, topic, tokens (comma), a dead token. Says a line per push, ends when its standard input does.

import com.eatthepath.pushy.apns.auth.ApnsVerificationKey;
import com.eatthepath.pushy.apns.server.MockApnsServer;
import com.eatthepath.pushy.apns.server.MockApnsServerBuilder;
import com.eatthepath.pushy.apns.server.MockApnsServerListener;
import com.eatthepath.pushy.apns.server.PushNotificationHandler;
import com.eatthepath.pushy.apns.server.PushNotificationHandlerFactory;
import com.eatthepath.pushy.apns.server.RejectionReason;
import com.eatthepath.pushy.apns.server.ValidatingPushNotificationHandlerFactory;
import io.netty.buffer.ByteBuf;
import io.netty.handler.codec.http2.Http2Headers;
import java.io.File;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Arrays;
import java.util.Base64;
import java.util.Map;
import java.util.Set;

public class ApnsServer {
    public static void main(String[] a) throws Exception {
        ApnsVerificationKey key = ApnsVerificationKey.loadFromPkcs8File(new File(a[3]), a[4], a[5]);
        PushNotificationHandlerFactory validating = new ValidatingPushNotificationHandlerFactory(
            Map.of(a[6], Set.of(a[7].split(","))),
            Map.of(a[8], Instant.ofEpochMilli(1795370000123L)),
            Map.of(a[5], key),
            Map.of(key, Set.of(a[6])));
        MockApnsServer server = new MockApnsServerBuilder()
            .setServerCredentials(new File(a[1]), new File(a[2]), null)
            .setUseAlpn(true)
            .setHandlerFactory(session -> telling(validating.buildHandler(session)))
            .setListener(new Teller())
            .build();
        server.start(Integer.parseInt(a[0])).get();
        say("listening");
        while (System.in.read() >= 0) {
            // Until the test is through.
        }
        server.shutdown().get();
    }

    /** Its own faults answer 500 without a word: they are told, so that a test shows them. */
    static PushNotificationHandler telling(PushNotificationHandler handler) {
        return (headers, payload) -> {
            inDer(headers);
            try {
                handler.handlePushNotification(headers, payload);
            } catch (RuntimeException fault) {
                say("fault " + fault);
                throw fault;
            }
        };
    }

    /** Pushy 0.15 verifies signatures in DER only; a JWS has two numbers of 32 bytes (RFC 7518, 3.4), as Apple takes. */
    static void inDer(Http2Headers headers) {
        CharSequence authorization = headers.get("authorization");
        if (authorization == null) {
            return;
        }
        String bearer = authorization.toString();
        int at = bearer.lastIndexOf('.') + 1;
        byte[] jose = Base64.getUrlDecoder().decode(bearer.substring(at));
        if (jose.length != 64) {
            return;
        }
        byte[] r = new BigInteger(1, Arrays.copyOf(jose, 32)).toByteArray();
        byte[] s = new BigInteger(1, Arrays.copyOfRange(jose, 32, 64)).toByteArray();
        ByteBuffer der = ByteBuffer.allocate(6 + r.length + s.length);
        der.put((byte) 0x30).put((byte) (4 + r.length + s.length));
        der.put((byte) 2).put((byte) r.length).put(r);
        der.put((byte) 2).put((byte) s.length).put(s);
        headers.set("authorization", bearer.substring(0, at) + Base64.getUrlEncoder().encodeToString(der.array()));
    }

    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    static class Teller implements MockApnsServerListener {
        @Override
        public void handlePushNotificationAccepted(Http2Headers headers, ByteBuf payload) {
            String body = payload.toString(StandardCharsets.UTF_8);
            String id = String.valueOf(headers.get("apns-id"));
            say("accepted " + id + " " + Base64.getEncoder().encodeToString(body.getBytes(StandardCharsets.UTF_8)));
        }

        @Override
        public void handlePushNotificationRejected(
            Http2Headers headers, ByteBuf payload, RejectionReason reason, Instant at) {
            say("rejected " + reason);
        }
    }
}
