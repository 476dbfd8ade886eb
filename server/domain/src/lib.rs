//! Every rule of Backstop, pure: time is an argument, I/O does not exist here.

pub mod apps;
pub mod breaker;
pub mod budget;
pub mod canary;
pub mod color;
pub mod customer;
pub mod device;
pub mod followup;
pub mod ids;
pub mod limits;
pub mod mail;
pub mod mail_domain;
pub mod mask;
pub mod optout;
pub mod presence;
pub mod quiet;
pub mod text;
pub mod wallet;

/// Milliseconds since 1970, UTC, by the workspace's clock.
pub type Ms = i64;
