//! The Backstop acknowledgement server: one library, one binary.

pub mod clock;
pub mod engine;
pub mod providers;
pub mod settings;
pub mod store;
pub mod templates;
pub mod vault;
pub mod workspace;
