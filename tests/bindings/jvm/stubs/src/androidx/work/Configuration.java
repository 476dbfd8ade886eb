// Signatures of androidx.work:work-runtime: to compile against, never shipped.
package androidx.work;

public final class Configuration {
    private Configuration() {}

    public static final class Builder {
        public Configuration build() {
            return new Configuration();
        }
    }
}
