//! The Backstop SDK for devices, without any FFI: acknowledges pushes so that nothing recorded is ever lost.
//!
//! [`PushClient`] is what a host app uses:
//!
//! ```no_run
//! use backstop_core::{Alerts, Config, Handled, Home, Platform, Proof, PushClient, PushProvider, PushToken};
//!
//! # async fn example(payload: &str) -> Result<(), backstop_core::Error> {
//! let client = PushClient::open(Config {
//!     base_url: "https://push.example.com".into(),
//!     app_key: "app_…".into(),
//!     platform: Platform::Android,
//!     sdk: "android/0.1.0".into(),
//!     home: Home::Directory("/data/data/com.example/no_backup/backstop".into()),
//!     spool_directory: None,
//!     locale: Some("ko".into()),
//!     extra_root_certificates: vec![],
//!     allow_http: false,
//! })?;
//! let token = PushToken { provider: PushProvider::Fcm, token: "…".into(), topic: None, environment: None };
//! client.set_token(token, Alerts::Allowed, 10_000).await?;
//! client.identify("lucas", Proof::Hash("99427c7b…".into()), 10_000).await?;
//!
//! // In the push handler:
//! if let Handled::Ours { push, .. } = client.handle_push(payload, 8_000).await? {
//!     // show push.title and push.body
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Inside, a pure [`machine`] decides and a thin shell does. What lies on the device: the registration (push token,
//! customer id and its proof, the device's key) and opaque receipts of acks on their way; no text, name, phone
//! number or email address.

mod backoff;
mod client;
mod clock;
mod config;
mod decide;
mod effect;
mod error;
mod event;
mod exchange;
mod extension;
mod http;
pub mod machine;
mod off;
mod policy;
mod push;
mod self_test;
mod shell;
mod spool;
mod state;
mod store;
mod transport;

pub use backstop_wire as wire;
pub use backstop_wire::{
    AckOutcome, AckResult, Alerts, DeviceRegistered, Environment, Grade, Platform, PresenceState, Push, PushProvider,
};
pub use client::{Acked, Failure, Flushed, Handled, PushClient, RegistrationStatus, Seen, Status, Tapped};
pub use clock::{Clock, SystemClock};
pub use config::{Config, Home, Proof, PushToken};
pub use error::{Error, TransportError};
pub use extension::{Extension, ExtensionConfig, Spooled};
pub use http::HttpTransport;
pub use push::{MAX_PAYLOAD_BYTES, parse_push};
pub use self_test::{DeviceFacts, Finding, FindingLevel, SelfTest};
pub use spool::Spool;
pub use store::Storage;
pub use transport::{MAX_RESPONSE_BYTES, Method, Request, Response, ResponseFuture, Transport};
