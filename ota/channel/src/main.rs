//! `sund-channel`: parse, run, exit code.
#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;
use sund_channel::cli::{Arguments, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(Arguments::parse()).await
}
