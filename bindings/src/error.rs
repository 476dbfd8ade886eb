//! What can go wrong for a host app: one case for each thing that it can do about it.

use backstop_core::Error;

/// Why a call failed. Being offline is not among them for what is kept: an ack or a log-in goes with a later `flush`.
///
/// `message` is one English sentence for a developer's log. It holds no token, key, receipt or customer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum SdkError {
    /// Mend the named setting or argument; nothing was stored.
    #[error("{explanation}")]
    Invalid {
        /// The setting or argument.
        name: String,
        /// What is wrong with it, in a sentence.
        explanation: String,
    },
    /// The device's disk is full and nothing was stored: call again when there is room.
    #[error("{explanation}")]
    StorageFull {
        /// In a sentence.
        explanation: String,
    },
    /// The SDK's storage cannot be used: open the SDK again, or update the app, as the sentence says.
    #[error("{explanation}")]
    StorageUnusable {
        /// In a sentence.
        explanation: String,
    },
    /// The call needs a registered device: give the push token first.
    #[error("{explanation}")]
    NotRegistered {
        /// In a sentence.
        explanation: String,
    },
    /// The server was not reached, or its answer was lost: try again later.
    #[error("{explanation}")]
    Unreachable {
        /// In a sentence.
        explanation: String,
    },
    /// The server said no.
    #[error("{explanation}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The problem's code (`rate_limited`), or empty.
        code: String,
        /// In a sentence.
        explanation: String,
    },
    /// The SDK was switched off with `set_enabled(false)`: nothing is kept or sent until it is switched on again.
    #[error("{explanation}")]
    Disabled {
        /// In a sentence.
        explanation: String,
    },
    /// The caller cancelled. What was recorded before stays recorded.
    #[error("{explanation}")]
    Cancelled {
        /// In a sentence.
        explanation: String,
    },
}

impl SdkError {
    pub(crate) fn cancelled() -> Self {
        SdkError::Cancelled { explanation: "cancelled by the caller; what was recorded stays recorded".to_owned() }
    }
}

impl SdkError {
    /// Kotlin and Swift write their names in camel case: so does what they read about them.
    fn invalid(what: &str, name: &str, reason: &str) -> Self {
        let mut words = name.split('_');
        let mut name = words.next().unwrap_or_default().to_owned();
        for word in words {
            let (first, rest) = word.split_at(word.len().min(1));
            name.extend([&first.to_ascii_uppercase(), rest]);
        }
        let explanation = format!("{what}: `{name}` {reason}");
        SdkError::Invalid { name, explanation }
    }
}

impl From<Error> for SdkError {
    fn from(error: Error) -> Self {
        let explanation = error.to_string();
        match error {
            Error::InvalidConfig { key, reason } => SdkError::invalid("configuration", key, &reason),
            Error::InvalidArgument { name, reason } => SdkError::invalid("argument", name, reason),
            Error::StorageFull => SdkError::StorageFull { explanation },
            Error::NotRegistered => SdkError::NotRegistered { explanation },
            Error::Transport(_) => SdkError::Unreachable { explanation },
            Error::Refused { status, code } => SdkError::Refused { status, code, explanation },
            Error::Disabled => SdkError::Disabled { explanation },
            // Damaged, newer, locked, and what a later core may add: its sentence says what to do.
            _ => SdkError::StorageUnusable { explanation },
        }
    }
}
