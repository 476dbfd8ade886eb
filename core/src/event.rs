//! What can happen to the device machine.

use crate::state::PendingAck;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An ack is durable on the device.
    Recorded(PendingAck),
    /// The app gave a push token or alerts state that differs from what it gave before.
    DetailsChanged {
        /// Whether a push token is known; without one there is nothing to register.
        token_known: bool,
    },
    /// A customer logged in, with a proof; another one than before, if there was one.
    LoggedIn,
    /// The customer who is logged in already came with another proof.
    ProofRenewed,
    /// The customer logged out.
    LoggedOut,
    /// Someone asks for what waits to be sent now: the app came to the front, the network came back.
    /// Overrides the device's own backoff, never the server's word.
    Flush,
    /// The time named by the last [`Wake`](crate::machine::Wake) has come.
    Wake,
    /// The request in flight was answered, or failed.
    Answered(Answer),
    /// The request in flight was given up on this side before its answer came, which says nothing of the server.
    Abandoned,
}

/// What became of a request. Each HTTP answer and network failure is exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done as asked; for acks: each has its result, and every result is final.
    Done,
    /// Understood and refused for good (400, 404, 410, 413, 422 in the server's own words).
    Refused,
    /// The key was not accepted (401, 403). Never final for an ack: the device registers again.
    Unauthorized,
    /// A registration of a known `install_id` needs the device's key, and what was sent was not it.
    ProofRefused,
    /// The customer's proof was not accepted.
    IdentityRefused,
    /// Nothing final: no network, a timeout, 408, 425, 5xx, or an answer that is not the server's.
    Failed {
        /// The server's word on when to come back, if it had one.
        retry_after_ms: Option<u64>,
    },
    /// Too many requests (429): the server decides when the next one may come.
    Throttled {
        /// The server's word on when to come back, if it had one.
        retry_after_ms: Option<u64>,
    },
}
