// Signatures of androidx.work:work-runtime: to compile against, never shipped.
package androidx.work;

public final class Constraints {
    private final NetworkType network;

    private Constraints(NetworkType network) {
        this.network = network;
    }

    public NetworkType getRequiredNetworkType() {
        return network;
    }

    public static final class Builder {
        private NetworkType network = NetworkType.NOT_REQUIRED;

        public Builder setRequiredNetworkType(NetworkType networkType) {
            network = networkType;
            return this;
        }

        public Constraints build() {
            return new Constraints(network);
        }
    }
}
