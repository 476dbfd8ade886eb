// Signatures of com.google.firebase:firebase-messaging: to compile against, never shipped.
package com.google.firebase.messaging;

import android.app.Service;
import android.content.Intent;
import android.os.IBinder;

public class FirebaseMessagingService extends Service {
    public void onMessageReceived(RemoteMessage message) {}

    public void onNewToken(String token) {}

    // Final in the real one's parent, too.
    @Override
    public final IBinder onBind(Intent intent) {
        return null;
    }
}
