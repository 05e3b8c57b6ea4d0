//! Development tasks: cargo xtask up | test | bench | models.
fn main() {}
