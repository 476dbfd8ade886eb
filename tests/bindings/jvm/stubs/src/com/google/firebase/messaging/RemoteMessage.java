// Signatures of com.google.firebase:firebase-messaging: to compile against, never shipped.
package com.google.firebase.messaging;

import java.util.Map;

public final class RemoteMessage {
    private final Map<String, String> data;

    /** Of the stub; the real one takes a Bundle. */
    public RemoteMessage(Map<String, String> data) {
        this.data = data;
    }

    public Map<String, String> getData() {
        return data;
    }
}
