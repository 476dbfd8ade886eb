// Signatures of com.google.firebase:firebase-messaging: to compile against, never shipped.
package com.google.firebase.messaging;

import com.google.android.gms.tasks.Task;

public class FirebaseMessaging {
    /** Of the stub: the token that Firebase has; none = the app has no Firebase project. */
    public static Task<String> token;

    public static synchronized FirebaseMessaging getInstance() {
        if (token == null) throw new IllegalStateException("Default FirebaseApp is not initialized in this process");
        return new FirebaseMessaging();
    }

    public Task<String> getToken() {
        return token;
    }
}
