//! The Rust SDK for callers of Atelier, and the atelier command line on top of it.
