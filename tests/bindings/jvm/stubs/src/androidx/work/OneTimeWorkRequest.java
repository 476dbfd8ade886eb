// Signatures of androidx.work:work-runtime: to compile against, never shipped.
package androidx.work;

public final class OneTimeWorkRequest extends WorkRequest {
    OneTimeWorkRequest(Builder builder) {
        super(builder);
    }

    public static final class Builder extends WorkRequest.Builder<Builder, OneTimeWorkRequest> {
        public Builder(Class<? extends ListenableWorker> workerClass) {}

        @Override
        Builder getThis() {
            return this;
        }

        @Override
        OneTimeWorkRequest buildInternal() {
            return new OneTimeWorkRequest(this);
        }
    }
}
