//! Email as the company's own: where answers go, what it looks like, whose domain it comes from.

pub mod address;
pub mod company;
pub mod dkim;
pub mod dns;
pub mod domain;
pub mod incoming;
pub mod reply;
pub mod template;

pub use company::{Company, OwnSender};
