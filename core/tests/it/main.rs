//! The SDK through the surface an app uses, against a server double over real HTTP and in process.

mod support;

mod client;
mod extension;
mod http;
mod kill;
mod machine;
mod off;
mod push;
mod self_test;
mod spool;
mod store;
