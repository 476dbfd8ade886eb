// Signatures of androidx.work:work-runtime: to compile against, never shipped.
package androidx.work;

public enum ExistingWorkPolicy { REPLACE, KEEP, APPEND, APPEND_OR_REPLACE }
