//! What happened, line by line: the last lines for a failure, a fingerprint of all for determinism.

use std::collections::VecDeque;
use std::fmt::Write as _;

const LAST: usize = 80;

/// Lines of a run.
pub(crate) struct Trace {
    last: VecDeque<String>,
    /// Every line, where two runs are compared byte by byte.
    pub(crate) all: Option<String>,
}

impl Trace {
    pub(crate) fn new(keep_all: bool) -> Trace {
        Trace { last: VecDeque::with_capacity(LAST), all: keep_all.then(String::new) }
    }

    pub(crate) fn line(&mut self, now: i64, what: std::fmt::Arguments<'_>) {
        let mut line = if self.last.len() == LAST { self.last.pop_front().unwrap_or_default() } else { String::new() };
        line.clear();
        write!(line, "{:>10}.{:03} {what}", now / 1_000, now % 1_000).expect("a string takes everything");
        if let Some(all) = &mut self.all {
            all.push_str(&line);
            all.push('\n');
        }
        self.last.push_back(line);
    }

    pub(crate) fn last(&self) -> impl Iterator<Item = &String> {
        self.last.iter()
    }
}
