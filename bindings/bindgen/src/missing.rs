//! What this machine lacks, and where to get it: no failure of ours, so it has an exit code of its own.

use std::path::Path;
use std::process::{Command, Stdio};

/// Everything that is missing at once, each with its mend.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) purpose: &'static str,
    pub(crate) what: Vec<String>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cannot be made on this machine. Missing:", self.purpose)?;
        self.what.iter().try_for_each(|line| write!(f, "\n- {line}"))
    }
}

impl std::error::Error for Missing {}

impl Missing {
    /// An error if anything is missing.
    pub(crate) fn unless_empty(purpose: &'static str, what: Vec<String>) -> anyhow::Result<()> {
        if what.is_empty() { Ok(()) } else { Err(Missing { purpose, what }.into()) }
    }
}

/// Whether a program is there and says its version.
pub(crate) fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The targets whose standard library is not installed.
pub(crate) fn rust_targets(targets: &[&str]) -> Vec<String> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().map(|out| out.stdout).unwrap_or_default();
    let libraries = Path::new(String::from_utf8_lossy(&sysroot).trim()).join("lib/rustlib");
    let absent = targets.iter().filter(|target| !libraries.join(target).join("lib").is_dir());
    absent.map(|target| format!("Rust's standard library for {target}: `rustup target add {target}`")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_missing_is_said_at_once() {
        let what = vec!["a saw: from the shed".to_owned(), "a nail: from the shop".to_owned()];
        let error = Missing::unless_empty("The house", what).expect_err("is missing");
        assert!(error.is::<Missing>());
        assert_eq!(
            error.to_string(),
            "The house cannot be made on this machine. Missing:\n- a saw: from the shed\n- a nail: from the shop"
        );
        assert!(Missing::unless_empty("The house", vec![]).is_ok());
    }

    #[test]
    fn a_target_without_its_standard_library_is_named_with_the_command_that_brings_it() {
        let said = rust_targets(&["mips-unknown-nowhere"]);
        assert_eq!(
            said,
            ["Rust's standard library for mips-unknown-nowhere: `rustup target add mips-unknown-nowhere`"]
        );
    }
}
