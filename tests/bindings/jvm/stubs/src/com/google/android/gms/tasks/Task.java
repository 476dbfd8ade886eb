// Signatures of com.google.android.gms:play-services-tasks: to compile against, never shipped.
package com.google.android.gms.tasks;

public abstract class Task<TResult> {
    public abstract boolean isSuccessful();

    public abstract TResult getResult();

    public abstract Task<TResult> addOnCompleteListener(OnCompleteListener<TResult> listener);
}
