//! The kit as its users see it: a real server, real connections, and a toy service that does what tests ask of it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking, their helpers too"
)]

mod admin;
mod calls;
mod drain;
mod health;
mod limits;
mod tls;
mod toy;
