// Stands in for androidx.test:monitor, which Robolectric calls and only the Google repository has.
package androidx.test.runner.intent;

public final class IntentStubberRegistry {
    private IntentStubberRegistry() {}

    public static IntentStubber getInstance() {
        throw new IllegalStateException("nothing is stubbed");
    }

    public static boolean isLoaded() {
        return false;
    }
}
