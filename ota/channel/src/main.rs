//! `sund-channel`: parse, run, exit code.
#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;
use sund_channel::cli::{Arguments, run};

fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(arguments) => run(arguments),
        Err(error) => {
            // Standard output or error may be closed; there is nobody to tell then.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS }
        }
    }
}
