//! What the device machine wants done.

use crate::state::AckId;

/// One thing to do. At most one request ([`Register`](Effect::Register), [`LogOut`](Effect::LogOut),
/// [`UploadAcks`](Effect::UploadAcks)) is in flight at a time; its answer comes back as an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `POST /v1/devices` with what the app gave last.
    Register {
        /// Which state of the app's details this carries, see [`State::given`](crate::machine::State::given).
        given: u64,
        /// Whether to send the customer and their proof. Not when the server took the binding before and the proof
        /// went stale since: the device's key is enough to refresh it.
        prove: bool,
    },
    /// `DELETE /v1/devices/{id}/customer`.
    LogOut,
    /// `POST /v1/acks` with these, in this order.
    UploadAcks {
        /// At most [`Policy::batch_max`](crate::machine::Policy::batch_max), oldest first.
        ids: Vec<AckId>,
    },
    /// Delete these acks from the device.
    DeleteAcks {
        /// Which.
        ids: Vec<AckId>,
        /// Why they are of no more use.
        why: Settled,
    },
    /// Store what the state now says of the registration.
    SaveRegistration,
    /// Make a new `install_id` and forget the device's id and key: the server does not accept them any more.
    NewInstall,
}

/// Why an ack leaves the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The server gave its result, whatever it is.
    Answered,
    /// The server cannot read it, alone in its batch.
    Refused,
    /// No credentials were accepted for as long as a receipt lives.
    Expired,
    /// The queue is full and others tell more.
    Overflow,
}
