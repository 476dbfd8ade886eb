//! The Backstop acknowledgement server: one library, one binary.

pub mod alimtalk;
pub mod app;
pub mod apps;
pub mod audit;
#[cfg(feature = "demo")]
pub mod bench;
pub mod billing;
pub mod canary;
pub mod cli;
pub mod clock;
mod compose;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod engine;
pub mod explain;
pub mod failpoint;
pub mod golive;
mod heard;
pub mod http;
pub mod identity;
pub mod limits;
pub mod links;
pub mod mail;
mod number;
pub mod perform;
pub mod problem;
pub mod providers;
pub mod registry;
pub mod replay;
pub mod retention;
pub mod sandbox;
pub mod serve;
pub mod settings;
pub mod signing;
pub mod store;
pub mod telemetry;
pub mod templates;
pub mod testing;
pub mod timer;
pub mod tls;
pub mod vault;
pub mod wallet;
pub mod workspace;
