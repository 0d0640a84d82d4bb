//! The `rmae` command.
fn main() {}
