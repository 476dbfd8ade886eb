//! Texts: what a message costs in parts, what a route can carry, and how a long one is cut (T4, T5, T6).

mod count;
mod fit;
mod gsm;
mod link;
mod plan;
#[cfg(test)]
mod tests;

pub use count::{Encoding, Size, count};
pub use fit::{Fitted, fit};
pub use link::{LINK_LIFE_MS, LOGIN_LIFE_MS, Link, NoLogin, Visit, Welcome};
pub use plan::{Country, Form, NumberKind, Sender, Senders, TextPlan};

/// T4: parts of one text, at most.
pub const MAX_SEGMENTS: u16 = 3;
