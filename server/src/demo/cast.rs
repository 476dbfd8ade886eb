//! Who is in the story, what their phone does, and how it comes out.

use super::ACK_WAIT_MS;
use backstop_domain::Ms;
use serde_json::{Value, json};

/// One customer.
pub(super) struct Member {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    /// What is shown of their phone.
    pub(super) about: &'static str,
    /// Behaviour of a virtual phone and its delay; `None` = no app.
    phone: Option<(&'static str, Ms)>,
    locale: &'static str,
    pub(super) question: &'static str,
    pub(super) reply: &'static str,
    pub(super) reads_after_ms: Option<Ms>,
    /// State and reason in the end.
    pub(super) outcome: (&'static str, &'static str),
}

impl Member {
    /// Body of `PUT /v1/customers/{id}`.
    pub(super) fn contact(&self) -> Value {
        json!({"name": self.name, "email": self.email(), "phone": self.number(), "locale": self.locale})
    }

    /// Whether their phone acks after the promise was kept without it.
    pub(super) fn acks_late(&self) -> bool {
        self.phone.is_some_and(|(_, after_ms)| after_ms > ACK_WAIT_MS)
    }

    /// The language of their email.
    pub(super) fn locale(&self) -> &'static str {
        self.locale
    }

    fn email(&self) -> String {
        format!("{}@example.com", self.id)
    }

    /// From the range that is reserved for stories.
    fn number(&self) -> String {
        let place = CAST.iter().position(|member| member.id == self.id).unwrap_or_default();
        format!("+141555501{:02}", 10 + place)
    }

    /// Body of `POST /sandbox/phones`.
    pub(super) fn phone(&self) -> Option<Value> {
        let (behaviour, ack_after_ms) = self.phone?;
        Some(json!({"customer_id": self.id, "behaviour": behaviour, "ack_after_ms": ack_after_ms}))
    }
}

/// In the order of the story.
pub(super) const CAST: &[Member] = &[
    Member {
        id: "mina",
        name: "Mina",
        about: "acks at once",
        phone: Some(("ack", 0)),
        locale: "en",
        question: "Is the blue one back in stock?",
        reply: "It is: I kept one for you until tomorrow evening.",
        reads_after_ms: None,
        outcome: ("acked", "acked"),
    },
    Member {
        id: "jonas",
        name: "Jonas",
        about: "notifications off",
        phone: Some(("suppressed", 0)),
        locale: "en",
        question: "Can I still change the address?",
        reply: "Done, it goes to your office now.",
        reads_after_ms: None,
        outcome: ("fell_back", "channel_off"),
    },
    Member {
        id: "aiko",
        name: "Aiko",
        about: "app removed, dead token",
        phone: Some(("token_gone", 0)),
        locale: "ja",
        question: "いつ届きますか。",
        reply: "明日の午前中にお届けします。",
        reads_after_ms: None,
        outcome: ("fell_back", "token_gone"),
    },
    Member {
        id: "lucas",
        name: "Lucas",
        about: "does not have the app",
        phone: None,
        locale: "en",
        question: "Do you ship to Lisbon?",
        reply: "We do, in three days, and the first order ships free.",
        reads_after_ms: None,
        outcome: ("fell_back", "no_device"),
    },
    Member {
        id: "noor",
        name: "Noor",
        about: "comes back and reads",
        phone: Some(("silent", 0)),
        locale: "en",
        question: "My cup came broken.",
        reply: "I am sorry! A new one is on its way, keep the pieces.",
        reads_after_ms: Some(12_000),
        outcome: ("cancelled", "customer_read"),
    },
    Member {
        id: "tom",
        name: "Tom",
        about: "stays silent",
        phone: Some(("silent", 0)),
        locale: "en",
        question: "Where is my parcel?",
        reply: "It arrives today between two and four.",
        reads_after_ms: None,
        outcome: ("fell_back", "no_ack"),
    },
    Member {
        id: "sofia",
        name: "Sofia",
        about: "acks too late",
        phone: Some(("ack", 36_500)),
        locale: "en",
        question: "Can you call me back?",
        reply: "Gladly: shall we say ten o'clock?",
        reads_after_ms: None,
        outcome: ("fell_back", "no_ack"),
    },
];
