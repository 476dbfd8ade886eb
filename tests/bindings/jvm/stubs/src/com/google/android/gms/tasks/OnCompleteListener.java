// Signatures of com.google.android.gms:play-services-tasks: to compile against, never shipped.
package com.google.android.gms.tasks;

public interface OnCompleteListener<TResult> {
    void onComplete(Task<TResult> task);
}
