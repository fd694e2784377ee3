//! `sund`: parse, run, exit code.
fn main() {}
