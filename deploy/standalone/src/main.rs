//! Starts the standalone binary.
fn main() {}
