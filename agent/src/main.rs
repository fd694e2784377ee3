//! `sund`: parse, run, exit code.
use clap::Parser;
use std::process::ExitCode;
use sund_agent::cli::{Arguments, run};
use sund_agent::exit::Exit;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("SUND_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // Data on standard output, logs on standard error.
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
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
