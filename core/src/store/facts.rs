//! The one row of this installation: what the app gave, and what the server confirmed.

use backstop_wire::{Alerts, DeviceRegistered};
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{Proof, PushToken};
use crate::error::Error;
use crate::machine::{Credentials, Customer, Registration, State};

/// Everything that is known of this installation beside its acks.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) install_id: String,
    pub(crate) token: Option<PushToken>,
    pub(crate) alerts: Alerts,
    /// Kept after a log-out until the server confirmed it.
    pub(crate) customer: Option<(String, Proof)>,
    pub(crate) customer_state: Customer,
    /// Counts what the app gave; `confirmed` is the count that the server took last.
    pub(crate) given: u64,
    pub(crate) confirmed: Option<Confirmed>,
    pub(crate) device: Option<DeviceRegistered>,
}

/// The last registration that the server confirmed.
#[derive(Clone, Copy)]
pub(crate) struct Confirmed {
    pub(crate) given: u64,
    pub(crate) at_ms: i64,
}

impl Facts {
    pub(crate) fn new() -> Self {
        Facts {
            install_id: new_install_id(),
            token: None,
            alerts: Alerts::NotAsked,
            customer: None,
            customer_state: Customer::Nobody,
            given: 0,
            confirmed: None,
            device: None,
        }
    }

    /// The machine's state after a start of the process.
    pub(crate) fn restored(&self) -> State {
        let registration = match (&self.token, self.confirmed) {
            (None, _) => Registration::NoToken,
            (Some(_), Some(last)) if last.given == self.given => Registration::Confirmed { at_ms: last.at_ms },
            (Some(_), _) => Registration::Due,
        };
        State {
            credentials: if self.device.is_some() { Credentials::Valid } else { Credentials::None },
            customer: self.customer_state,
            registration,
            given: self.given,
            ..State::default()
        }
    }

    /// Takes over what the machine decided.
    pub(crate) fn adopt(&mut self, state: &State) {
        self.given = state.given;
        self.customer_state = state.customer;
        if state.customer == Customer::Nobody {
            self.customer = None;
        }
        if let Registration::Confirmed { at_ms } = state.registration {
            self.confirmed = Some(Confirmed { given: state.given, at_ms });
        }
    }

    /// Starts over under another `install_id`.
    pub(crate) fn start_over(&mut self) {
        self.install_id = new_install_id();
        self.device = None;
        self.confirmed = None;
    }

    pub(super) fn load(connection: &Connection) -> Result<Option<Facts>, Error> {
        let row = connection.query_row("SELECT * FROM device", [], read).optional()?;
        Ok(row)
    }

    pub(super) fn save(&self, connection: &Connection) -> Result<(), Error> {
        let proof = self.customer.as_ref().map(|(_, proof)| match proof {
            Proof::Hash(hash) => ("hash", hash),
            Proof::Token(token) => ("token", token),
        });
        let token = self.token.as_ref();
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO device VALUES (1, :install_id, :token, :provider, :topic, :environment,
                 :alerts, :customer_id, :proof_kind, :proof, :customer_state, :given, :confirmed, :confirmed_at_ms,
                 :device_id, :device_key)",
            )?
            .execute(named_params! {
                ":install_id": self.install_id,
                ":token": token.map(|t| &t.token),
                ":provider": token.map(|t| word(&t.provider)),
                ":topic": token.and_then(|t| t.topic.as_ref()),
                ":environment": token.and_then(|t| t.environment.as_ref()).map(word),
                ":alerts": word(&self.alerts),
                ":customer_id": self.customer.as_ref().map(|(id, _)| id),
                ":proof_kind": proof.map(|(kind, _)| kind),
                ":proof": proof.map(|(_, proof)| proof),
                ":customer_state": word(&self.customer_state),
                ":given": count(self.given),
                ":confirmed": self.confirmed.map(|c| count(c.given)),
                ":confirmed_at_ms": self.confirmed.map(|c| c.at_ms),
                ":device_id": self.device.as_ref().map(|d| &d.device_id),
                ":device_key": self.device.as_ref().map(|d| &d.device_key),
            })?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Facts> {
    let token = match (row.get("token")?, row.get::<_, Option<String>>("token_provider")?) {
        (Some(token), Some(provider)) => Some(PushToken {
            provider: from_word(&provider)?,
            token,
            topic: row.get("token_topic")?,
            environment: row.get::<_, Option<String>>("token_environment")?.map(|w| from_word(&w)).transpose()?,
        }),
        _ => None,
    };
    let proof = match row.get::<_, Option<String>>("customer_proof_kind")?.as_deref() {
        Some("hash") => Some(Proof::Hash(row.get("customer_proof")?)),
        Some("token") => Some(Proof::Token(row.get("customer_proof")?)),
        _ => None,
    };
    let confirmed = match (row.get::<_, Option<i64>>("confirmed")?, row.get("confirmed_at_ms")?) {
        (Some(given), Some(at_ms)) => Some(Confirmed { given: given.unsigned_abs(), at_ms }),
        _ => None,
    };
    let device = match (row.get("device_id")?, row.get("device_key")?) {
        (Some(device_id), Some(device_key)) => Some(DeviceRegistered { device_id, device_key }),
        _ => None,
    };
    Ok(Facts {
        install_id: row.get("install_id")?,
        token,
        alerts: from_word(&row.get::<_, String>("alerts")?)?,
        customer: row.get::<_, Option<String>>("customer_id")?.zip(proof),
        customer_state: from_word(&row.get::<_, String>("customer_state")?)?,
        given: row.get::<_, i64>("given")?.unsigned_abs(),
        confirmed,
        device,
    })
}

/// The word of an enum, as on the wire.
pub(super) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

pub(super) fn from_word<T: DeserializeOwned>(word: &str) -> rusqlite::Result<T> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e)))
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn new_install_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
