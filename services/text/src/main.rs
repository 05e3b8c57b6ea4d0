//! Starts the text binary.
fn main() {}
