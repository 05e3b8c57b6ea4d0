//! Starts the moderation binary.
fn main() {}
