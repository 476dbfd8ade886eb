// Signatures of androidx.work:work-runtime: to compile against, never shipped.
package androidx.work;

import java.util.concurrent.TimeUnit;

public abstract class WorkRequest {
    private final Constraints constraints;
    private final long initialDelayMs;
    private final boolean expedited;

    WorkRequest(Builder<?, ?> builder) {
        constraints = builder.constraints;
        initialDelayMs = builder.initialDelayMs;
        expedited = builder.expedited;
    }

    /** Of the stub: what the real one keeps to itself. */
    public String described() {
        String when = expedited ? "expedited" : "after " + initialDelayMs + " ms";
        return when + ", network " + constraints.getRequiredNetworkType();
    }

    public abstract static class Builder<B extends Builder<B, ?>, W extends WorkRequest> {
        private Constraints constraints;
        private long initialDelayMs;
        private boolean expedited;

        abstract B getThis();

        public final B setConstraints(Constraints constraints) {
            this.constraints = constraints;
            return getThis();
        }

        public B setInitialDelay(long duration, TimeUnit timeUnit) {
            initialDelayMs = timeUnit.toMillis(duration);
            return getThis();
        }

        public B setExpedited(OutOfQuotaPolicy policy) {
            expedited = true;
            return getThis();
        }

        public final W build() {
            // As the real one does.
            if (expedited && initialDelayMs > 0) throw new IllegalArgumentException("Expedited jobs cannot be delayed");
            return buildInternal();
        }

        abstract W buildInternal();
    }
}
