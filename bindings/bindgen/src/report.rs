//! Named checks, and the line that sums them up as a test binary would.

use anyhow::bail;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: Vec<String>,
}

impl Report {
    /// Runs one check; its text is shown with it.
    pub(crate) fn check(&mut self, name: &str, outcome: anyhow::Result<String>) {
        match outcome {
            Ok(note) if note.is_empty() => println!("{name} … ok"),
            Ok(note) => println!("{name} … ok: {note}"),
            Err(error) => {
                println!("{name} … FAILED: {error:#}");
                self.failed.push(name.to_owned());
                return;
            }
        }
        self.passed += 1;
    }

    /// Prints the sum; fails if anything did, or if nothing was checked.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let word = if self.failed.is_empty() { "ok" } else { "FAILED" };
        println!("test result: {word}. {} passed; {} failed;", self.passed, self.failed.len());
        match self.failed.as_slice() {
            [] if self.passed == 0 => bail!("nothing was checked"),
            [] => Ok(()),
            failed => bail!("failed: {}", failed.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_fails_the_whole_and_so_does_nothing() {
        let mut report = Report::default();
        report.check("good", Ok(String::new()));
        report.check("bad", Err(anyhow::anyhow!("why")));
        assert_eq!(report.finish().expect_err("one failed").to_string(), "failed: bad");
        assert!(Report::default().finish().is_err());
        let mut report = Report::default();
        report.check("good", Ok("as it should".to_owned()));
        assert!(report.finish().is_ok());
    }
}
