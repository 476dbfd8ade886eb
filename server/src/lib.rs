//! The Backstop acknowledgement server.

pub mod providers;
pub mod store;
