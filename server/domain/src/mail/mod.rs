//! What comes by mail: which of it a person wrote and what of that is new (E3, E4), and what servers say of ours (E5).

mod bounce;
mod loops;
mod quote;
#[cfg(test)]
mod quote_tests;
mod thin;

pub use bounce::{
    AT_DATA, AT_MAIL_FROM, Fate, STRIKES, STRIKES_WITHIN_MS, StatusReport, Verdict, is_complaint, read_status, strike,
    verdict,
};
pub use loops::{Machine, Signs, machine};
pub use quote::{MARKERS, marker, new_text, tidy};
pub use thin::Thin;
