//! `sund-channel`: parse, run, exit code.
#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;
use sund_channel::cli::{Arguments, Exit, run};

fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(arguments) => run(arguments).into(),
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // Standard output or error may be closed; there is nobody to tell then.
            let _ = error.print();
            exit.into()
        }
    }
}
