//! An ack: the device's own word (P6–P11).

/// What the device is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// What became of it.
    pub verdict: AckVerdict,
    /// Whether it is enough to settle the follow-up (P6, P7).
    pub counted: bool,
    /// Whether it is this device's first counted ack of this follow-up: what P6 remembers.
    pub first_counted: bool,
}

/// What became of an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckVerdict {
    /// Recorded before a fallback was decided.
    Accepted,
    /// Recorded after it.
    Late,
    /// Same receipt, same or lower grade.
    Duplicate,
    /// Nothing that could be acked.
    Refused,
}
