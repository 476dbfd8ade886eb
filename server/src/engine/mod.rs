//! load → decide → commit, in batches: what arrives while a commit runs forms the next one.

pub mod api;
