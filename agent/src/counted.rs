//! Numbers in sentences.
use std::fmt::Display;

/// `1 file`, `2 files`.
pub fn counted<N: Display + PartialEq + From<u8>>(n: N, one: &str, more: &str) -> String {
    let word = if n == N::from(1) { one } else { more };
    format!("{n} {word}")
}
