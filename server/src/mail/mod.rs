//! Email as the company's own: where answers go, what it looks like, whose domain it comes from.

pub mod reply;
