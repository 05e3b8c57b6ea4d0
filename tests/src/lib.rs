//! End-to-end tests: real servers on ports chosen by the system, the real default models.
//!
//! [`Sandbox`] starts a gateway of its own for each test, in front of one text and one moderation service that all
//! tests of a binary share (loading them takes seconds); a test that ends a service starts its own with [`Running`].

#![expect(clippy::expect_used, reason = "tests fail by panicking, their helpers too")]

pub mod clients;
mod http;
pub mod raw;
pub mod sandbox;
pub mod scripted;

pub use clients::Clients;
pub use http::http_get;
pub use sandbox::{Running, Sandbox, SandboxBuilder};
