//! The central side of the signed channel.
#![forbid(unsafe_code)]
