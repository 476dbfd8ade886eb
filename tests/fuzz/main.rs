//! The fuzzer: LLVM's libFuzzer around the target that `BACKSTOP_FUZZ_TARGET` names.

#![no_main]

mod targets;

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;
use targets::{TARGETS, Target, what_is_true_gets_through};

fn target() -> Target {
    static TARGET: OnceLock<Target> = OnceLock::new();
    *TARGET.get_or_init(|| {
        what_is_true_gets_through();
        let name = std::env::var("BACKSTOP_FUZZ_TARGET").unwrap_or_default();
        let known = TARGETS.iter().find(|(known, _)| *known == name);
        known.unwrap_or_else(|| panic!("BACKSTOP_FUZZ_TARGET must be one of targets.rs, not {name:?}")).1
    })
}

fuzz_target!(|data: &[u8]| target()(data));
