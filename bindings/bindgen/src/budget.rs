//! The size budget: bytes of the stripped library, one line a target.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The budget of every target that has one.
#[derive(Debug, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Budget(BTreeMap<String, u64>);

impl Budget {
    /// Reads `size-budget.toml`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mend = "must be lines like `target-triple = 3_145_728`";
        toml::from_str(&text).with_context(|| format!("{} {mend}", path.display()))
    }

    /// What to say about a library of that size; an error if it is too large.
    pub(crate) fn check(&self, target: &str, bytes: u64) -> Result<String> {
        match self.0.get(target) {
            None => Ok(format!("{bytes} bytes, no budget for {target}")),
            Some(&most) if bytes <= most => Ok(format!("{bytes} of {most} bytes, {} left", most - bytes)),
            Some(&most) => bail!(
                "{bytes} bytes for {target}, {} more than the {most} of bindings/size-budget.toml: what did it \
                 take in? `nm -S --size-sort -C` on the file in `symbols` says",
                bytes - most
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(text: &str) -> Result<Budget> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        Budget::read(file.path())
    }

    #[test]
    fn the_last_byte_of_a_budget_may_be_used_and_no_more() {
        let budget = budget("a-b-c = 3_145_728\n").expect("read");
        assert_eq!(budget.check("a-b-c", 3_145_728).expect("fits"), "3145728 of 3145728 bytes, 0 left");
        let over = budget.check("a-b-c", 3_145_729).expect_err("too large").to_string();
        assert!(over.starts_with("3145729 bytes for a-b-c, 1 more than the 3145728"), "{over}");
        assert_eq!(budget.check("other", 9).expect("reported"), "9 bytes, no budget for other");
    }

    #[test]
    fn a_line_that_is_no_number_of_bytes_is_refused() {
        for bad in ["a = \"3 MB\"", "a = -1", "a"] {
            let error = format!("{:#}", budget(bad).expect_err(bad));
            assert!(error.contains("must be lines like"), "{error}");
        }
    }

    #[test]
    fn the_committed_budget_holds_the_library_of_this_machine_to_three_mebibytes() {
        let budget = Budget::read(&crate::workspace::root().join("bindings/size-budget.toml")).expect("read");
        assert!(budget.check("x86_64-unknown-linux-gnu", 3 * 1024 * 1024 + 1).is_err());
    }
}
