// Signatures of androidx.work:work-runtime: to compile against, never shipped.
package androidx.work;

import android.content.Context;

public abstract class WorkManager {
    /** Of the stub: the manager that a test looks at; none = the app switched off that WorkManager starts by itself. */
    public static WorkManager instance;

    /** Of the stub: what {@link #initialize} makes; none = it fails as well. */
    public static WorkManager afterInitialize;

    public static WorkManager getInstance(Context context) {
        if (instance == null) throw new IllegalStateException("WorkManager is not initialized properly.");
        return instance;
    }

    public static void initialize(Context context, Configuration configuration) {
        if (instance != null) throw new IllegalStateException("WorkManager is already initialized.");
        instance = afterInitialize;
    }

    public abstract Operation enqueueUniqueWork(
            String uniqueWorkName, ExistingWorkPolicy existingWorkPolicy, OneTimeWorkRequest work);

    public abstract Operation cancelUniqueWork(String uniqueWorkName);
}
