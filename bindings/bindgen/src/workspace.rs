//! Where things are in the checkout.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The checkout that this is called in; from elsewhere, the one that this program was built from.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let called = std::env::current_dir().unwrap_or_default();
        let built = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut above = called.ancestors().chain(built.ancestors());
        above.find(|directory| directory.join("bindings/uniffi.toml").is_file()).unwrap_or(built).to_owned()
    })
}

/// Cargo's directory of build output.
pub(crate) fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The Rust crate that phones ship; Cargo writes its name with a hyphen.
pub(crate) const LIBRARY: &str = "backstop_ffi";
/// The crate with what tests of apps need on top.
pub(crate) const TESTING_LIBRARY: &str = "backstop_ffi_testing";
/// The C module that the generated Swift imports.
pub(crate) const C_MODULE: &str = "BackstopFFI";
