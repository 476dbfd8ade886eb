//! What the device machine knows: acks on their way, the registration, and what is in flight.

use std::collections::BTreeMap;

use backstop_wire::Grade;

/// The device's own number of an ack, rising in the order of recording.
pub type AckId = i64;

/// An ack that the server has not answered. The receipt itself stays in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingAck {
    /// Its number.
    pub id: AckId,
    /// How far the push got.
    pub grade: Grade,
    /// When it was recorded, by the device's clock.
    pub recorded_at_ms: i64,
}

/// Everything the device machine decides from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether acks can be authenticated.
    pub credentials: Credentials,
    /// Who is logged in, and whether the server knows.
    pub customer: Customer,
    /// Whether the server knows what the app gave last.
    pub registration: Registration,
    /// Counts what the app gave, so that the answer to an older registration does not confirm a newer one.
    pub given: u64,
    /// Acks without an answer, oldest first.
    pub pending: BTreeMap<AckId, PendingAck>,
    /// The most acks of the next upload: halved when a batch is refused, until the bad one stands alone.
    pub batch_limit: usize,
    /// The one request in flight.
    pub in_flight: InFlight,
    /// Requests without a final answer in a row.
    pub failures: u32,
    /// Refusals of the device's key in a row.
    pub rejections: u32,
    /// Whether the next request has to wait.
    pub hold: Hold,
}

/// The device's id and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Never registered.
    None,
    /// Given by the server, and not refused since.
    Valid,
    /// The server refused them: register again first.
    Doubted,
}

/// Who is logged in on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Customer {
    /// Nobody, and the server knows.
    Nobody,
    /// Logged in on the device; the server has not confirmed it.
    Claimed,
    /// Logged in, and confirmed by the server.
    Bound,
    /// As `Bound`, but the stored proof went stale since; the device's key keeps the binding alive.
    BoundByKey,
    /// Logged out on the device; the server has not confirmed it.
    LoggedOut,
    /// Somebody logged in while another one was, or may have been: the log-out goes first, so that a refused log-in
    /// does not leave the device with the former customer.
    Replacing,
}

/// What the server knows of this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// The app has given no push token: there is nothing to register.
    NoToken,
    /// What the app gave last has to be sent.
    Due,
    /// The server confirmed what the app gave last.
    Confirmed {
        /// When.
        at_ms: i64,
    },
    /// The server refuses what the app gave; the app has to give something else.
    Refused {
        /// When to ask again nevertheless.
        retry_at_ms: i64,
    },
}

/// The one request in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// None.
    Nothing,
    /// Acks, in this order.
    Acks(Vec<AckId>),
    /// A registration.
    Register {
        /// The state of the app's details that it carries.
        given: u64,
        /// Whether it carries the customer.
        prove: bool,
    },
    /// A log-out.
    LogOut,
}

/// Whether the next request has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// No.
    No,
    /// The device's own backoff; something new, or a flush, overrides it.
    Backoff {
        /// Until then.
        until_ms: i64,
    },
    /// The server asked for it; nothing overrides it.
    Server {
        /// Until then.
        until_ms: i64,
    },
}

impl Default for State {
    /// A fresh installation: nothing given, nothing known.
    fn default() -> Self {
        State {
            credentials: Credentials::None,
            customer: Customer::Nobody,
            registration: Registration::NoToken,
            given: 0,
            pending: BTreeMap::new(),
            batch_limit: usize::MAX,
            in_flight: InFlight::Nothing,
            failures: 0,
            rejections: 0,
            hold: Hold::No,
        }
    }
}

impl State {
    /// A device whose registration the server confirmed at that time.
    pub fn registered(at_ms: i64) -> Self {
        State {
            credentials: Credentials::Valid,
            registration: Registration::Confirmed { at_ms },
            given: 1,
            ..State::default()
        }
    }
}
