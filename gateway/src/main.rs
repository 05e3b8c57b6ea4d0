//! Starts the gateway binary.
fn main() {}
