//! The Backstop acknowledgement server: one library, one binary.

pub mod clock;
pub mod engine;
pub mod identity;
pub mod problem;
pub mod providers;
pub mod registry;
pub mod settings;
pub mod store;
pub mod templates;
pub mod vault;
pub mod workspace;
