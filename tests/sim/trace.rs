//! What happened, line by line: for people who replay a seed, and byte by byte for determinism.

use std::fmt::Write as _;

/// Lines of a run, if anybody wants them: a seed that fails is simply lived again with its lines kept.
pub(crate) struct Trace {
    text: Option<String>,
}

impl Trace {
    pub(crate) fn new(kept: bool) -> Trace {
        Trace { text: kept.then(String::new) }
    }

    pub(crate) fn line(&mut self, now: i64, what: std::fmt::Arguments<'_>) {
        if let Some(text) = &mut self.text {
            writeln!(text, "{:>6}.{:03} {what}", now / 1_000, now % 1_000).expect("a string takes everything");
        }
    }

    pub(crate) fn take(&mut self) -> String {
        self.text.take().unwrap_or_default()
    }
}
