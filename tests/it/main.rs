//! Every test that needs more than one crate, in one binary: it links once.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test may stop and may speak")]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

mod apps;
mod apps_live;
mod cli_commands;
mod demo;
mod flow;
mod flow_acks;
mod flow_customers;
mod flow_promise;
mod flow_start;
mod golive_canary;
mod golive_cli;
mod golive_test_sends;
mod hostile_access;
mod hostile_acks;
mod hostile_bytes;
mod hostile_canaries;
mod hostile_security;
mod hostile_slow;
mod hostile_support;
mod hostile_takeover;
mod http_any_input;
mod http_backend;
mod http_bad_input;
mod http_contract;
mod http_device;
mod http_logs;
mod http_openapi;
mod http_registry;
mod http_settings;
mod http_store_down;
mod http_support;
mod providers_bodies;
mod providers_capture;
mod providers_email;
mod providers_fcm;
mod providers_fcm_double;
mod providers_smtp;
mod providers_smtp_double;
mod providers_support;
mod readme;
mod sandbox_basics;
mod serve_bounds;
mod serve_listeners;
mod serve_tls;
mod store_conformance;
mod store_engine;
mod store_faults;
mod store_fixture;
mod store_rows;
mod store_sqlite;
mod surface;
mod tidy;

use backstop_tests::program;
