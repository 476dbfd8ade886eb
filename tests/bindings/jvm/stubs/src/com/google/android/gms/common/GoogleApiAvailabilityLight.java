// Signatures of com.google.android.gms:play-services-basement: to compile against, never shipped.
package com.google.android.gms.common;

import android.content.Context;

public class GoogleApiAvailabilityLight {
    /** Of the stub: what the phone answers. */
    public static int answer;

    public static GoogleApiAvailabilityLight getInstance() {
        return new GoogleApiAvailabilityLight();
    }

    public int isGooglePlayServicesAvailable(Context context) {
        return answer;
    }

    public String getErrorString(int errorCode) {
        return errorCode == 1 ? "SERVICE_MISSING" : "SUCCESS";
    }
}
