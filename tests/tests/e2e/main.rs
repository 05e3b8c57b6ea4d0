//! Scenarios over real services and the real default models; one binary, so that the models are loaded once.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking, their helpers too"
)]

mod chat;
mod failure;
mod images;
mod input;
mod load;
mod policy;
mod standalone;
mod support;
mod surface;
