// Signatures of androidx.work:work-runtime: to compile against, never shipped.
package androidx.work;

import android.content.Context;

public abstract class ListenableWorker {
    private final Context context;

    public ListenableWorker(Context appContext, WorkerParameters workerParams) {
        context = appContext;
    }

    public final Context getApplicationContext() {
        return context;
    }

    public void onStopped() {}

    public abstract static class Result {
        public static Result success() {
            return new Result() {};
        }
    }
}
