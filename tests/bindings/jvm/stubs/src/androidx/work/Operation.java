// Signatures of androidx.work:work-runtime: to compile against, never shipped.
package androidx.work;

public interface Operation {}
