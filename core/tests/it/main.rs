//! The SDK through the surface an app uses, against a server double over real HTTP and in process.

mod support;

mod client;
mod http;
mod kill;
mod machine;
mod push;
mod spool;
mod store;
