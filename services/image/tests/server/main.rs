//! A real server with the default models, called as a client calls it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking, their helpers too"
)]

mod clips;
mod common;
mod exploring;
mod folders;
mod pictures;
mod refusals;
mod understanding;
