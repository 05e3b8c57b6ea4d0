//! The gateway over real connections, between scripted upstreams.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod audit;
mod choices;
mod clips;
mod critic;
mod edge;
mod explore;
mod images;
mod input;
mod output;
mod painter;
mod passthrough;
mod reload;
mod sandbox;
mod tools;
mod writer;
