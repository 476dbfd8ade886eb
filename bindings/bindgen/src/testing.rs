//! The library that tests of Android apps load on the developer's machine, where JNA looks for it on the class path.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::build::{self, Kind};
use crate::workspace::{root, target_directory};

const PACKAGE: &str = "backstop-ffi-testing";

/// `package testing`.
#[derive(Args)]
pub(crate) struct Options {
    /// Where to write; `target/bindings/test-libraries` if not given, which is where Gradle looks.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Builds the library for this machine; what other machines of a team need is made on them, and put beside it.
pub(crate) fn package(options: &Options) -> Result<()> {
    let host = build::host()?;
    let out = options.out.clone().unwrap_or_else(|| target_directory().join("bindings/test-libraries"));
    let directory = out.join(jna_platform(&host)?);
    let cargo = ["build", "--release", "--locked", "--lib", "--package", PACKAGE];
    build::run(Command::new("cargo").current_dir(root()).args(cargo))?;
    let name = build::file_name(PACKAGE, Kind::Cdylib, &host);
    let built = target_directory().join("release").join(&name);
    fs::create_dir_all(&directory)?;
    fs::copy(&built, directory.join(&name)).with_context(|| format!("Cargo made no {}", built.display()))?;
    println!("{}", directory.join(&name).display());
    Ok(())
}

/// What JNA calls a machine that Rust calls by its target triple.
fn jna_platform(target: &str) -> Result<String> {
    let machine = match target.split('-').next() {
        Some("x86_64") => "x86-64",
        Some("aarch64") => "aarch64",
        _ => bail!("JNA's name for {target} is not known here: add it in bindings/bindgen/src/testing.rs"),
    };
    let system = if target.contains("apple-darwin") { "darwin" } else { "linux" };
    Ok(format!("{system}-{machine}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_have_the_names_that_jna_looks_for() {
        assert_eq!(jna_platform("x86_64-unknown-linux-gnu").expect("known"), "linux-x86-64");
        assert_eq!(jna_platform("aarch64-unknown-linux-gnu").expect("known"), "linux-aarch64");
        assert_eq!(jna_platform("aarch64-apple-darwin").expect("known"), "darwin-aarch64");
        assert!(jna_platform("riscv64gc-unknown-linux-gnu").is_err());
    }
}
