// Stands in for androidx.test:monitor, which Robolectric calls and only the Google repository has.
package androidx.test.runner.lifecycle;

import android.app.Activity;

public interface ActivityLifecycleCallback {
    void onActivityLifecycleChanged(Activity activity, Stage stage);
}
