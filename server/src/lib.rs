//! The Backstop acknowledgement server.

pub mod providers;
