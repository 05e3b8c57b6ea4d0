//! The gateway over real connections, between scripted upstreams.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod audit;
mod edge;
mod fakes;
mod input;
mod output;
mod passthrough;
mod reload;
mod sandbox;
