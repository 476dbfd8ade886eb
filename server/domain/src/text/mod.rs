//! Texts: what a message costs in parts, what a route can carry, and how a long one is cut (T4, T5, T6).

pub mod alimtalk;
mod count;
mod cp949;
mod fit;
mod gsm;
mod korean;
#[cfg(test)]
mod korean_tests;
mod link;
mod octets;
mod plan;
mod route;
mod route_table;
#[cfg(test)]
mod tests;

pub use count::{Encoding, Size, count};
pub use fit::{Fitted, carried, fit, fit_linked, subject};
pub use link::{LINK_LIFE_MS, LOGIN_LIFE_MS, Link, NoLogin, Visit, Welcome};
pub use octets::{Octets, from_gsm7, from_ucs2};
pub use plan::{Country, Form, NumberKind, Sender, Senders, TextPlan};
pub use route::{BLOCK_LASTS_MS, Carrier, Hop, Reach, Recipient, Routes, TextService, Way, hops};
pub use route_table::{RouteError, WrongRoute};

/// T4: parts of one text, at most.
pub const MAX_SEGMENTS: u16 = 3;
