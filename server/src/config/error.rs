//! What is wrong with a configuration: where it stands, which key it is, and what to do.

use figment::Figment;
use std::fmt;

/// Why the configuration cannot be used: every problem found, each with its place and its mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(pub Vec<Problem>);

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file or environment variable it comes from.
    pub place: String,
    /// `section.key`, where one is at fault.
    pub key: Option<String>,
    /// What is wrong, and what to do.
    pub mend: String,
}

impl ConfigError {
    pub(super) fn one(problem: Problem) -> ConfigError {
        ConfigError(vec![problem])
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl Problem {
    pub(super) fn new(place: &str, key: Option<&str>, mend: impl Into<String>) -> Problem {
        Problem { place: place.to_owned(), key: key.map(str::to_owned), mend: mend.into() }
    }

    pub(super) fn from_figment(error: figment::Error) -> Problem {
        let place = error.metadata.as_ref().map_or("the configuration", |metadata| &metadata.name).to_owned();
        let key = (!error.path.is_empty()).then(|| error.path.join("."));
        Problem { place, key, mend: error.kind.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_deref().map(|key| key.rsplit_once('.')) {
            Some(Some((section, key))) => write!(f, "{}: [{section}] {key} {}", self.place, self.mend),
            Some(None) => write!(f, "{}: {} {}", self.place, self.key.as_deref().unwrap_or_default(), self.mend),
            None => write!(f, "{}: {}", self.place, self.mend),
        }
    }
}

/// A value that is wrong, before it is known which layer set it.
pub(super) struct Found {
    pub(super) key: &'static str,
    pub(super) mend: String,
}

impl Found {
    pub(super) fn placed(self, figment: &Figment) -> Problem {
        let place = figment.find_metadata(self.key).map_or("the configuration", |metadata| &metadata.name);
        Problem::new(place, Some(self.key), self.mend)
    }
}
