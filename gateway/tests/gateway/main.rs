//! The gateway over real connections, between scripted upstreams.

mod audit;
mod edge;
mod fakes;
mod input;
mod output;
mod passthrough;
mod reload;
mod sandbox;
