//! The command line of `sund`.
