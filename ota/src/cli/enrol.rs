//! `enrol`: with a code that a person gives, or with the one that a box was provisioned with.
use super::run::failed;
use crate::config::Config;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::identity::{self, Standing};
use crate::provision::document::is_code;
use crate::{config, durable};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use url::Url;

/// A file with a code, in bytes.
const MAX_CODE_FILE: u64 = 1024;
/// What ends by itself: the code has not been looked at, and is tried again.
const LATER: [&str; 5] = ["channel-away", "tpm-away", "tpm-busy", "tpm-locked-out", "enrol-under-way"];

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    code: Code,
    /// The channel server; absent: the one of the configuration.
    #[arg(long)]
    server: Option<Url>,
}

#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Code {
    /// The code.
    #[arg(long)]
    code: Option<String>,
    /// A file that holds the code. A box whose certificate is good keeps it; the file goes once its code is used up, or is not needed.
    #[arg(long)]
    code_file: Option<PathBuf>,
}

pub(super) async fn enrol(config: Config, arguments: Arguments) -> Exit {
    let Arguments { code, server } = arguments;
    let server = match config::base("--server", server.unwrap_or_else(|| config.server.clone())) {
        Ok(server) => server,
        Err(reason) => {
            eprintln!("{reason}");
            return Exit::Usage;
        }
    };
    let enrolled = match (code.code, code.code_file) {
        (Some(code), _) => identity::enrol(&config, &server, &code).await.map(drop),
        (None, Some(file)) => by_file(&config, &server, &file).await,
        (None, None) => return Exit::Usage,
    };
    match enrolled {
        Ok(()) => Exit::Done,
        Err(fault) if LATER.contains(&fault.code.as_ref()) => {
            eprintln!("{fault}");
            Exit::Later
        }
        Err(fault) => {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "the box was not enrolled");
            failed(&fault)
        }
    }
}

/// A code is good once. One that stayed would be tried at each start, and lock out those who come with a new one.
async fn by_file(config: &Config, server: &Url, file: &Path) -> Result<(), Fault> {
    match Standing::of(config) {
        Standing::Holds => return durable::remove(file),
        Standing::Unknown(fault) => return Err(fault),
        Standing::Missing | Standing::Lapsed(_) => {}
    }
    match identity::enrol(config, server, &read(file)?).await {
        Ok(_) => durable::remove(file),
        Err(fault) => {
            if fault.code == "enrol-refused" {
                durable::remove(file)?;
            }
            Err(fault)
        }
    }
}

fn read(file: &Path) -> Result<String, Fault> {
    let none =
        |reason: String| Fault::new("enrol-no-code", Blame::Configuration, format!("{}: {reason}", file.display()));
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(MAX_CODE_FILE).read_to_string(&mut text))
        .map_err(|error| none(error.to_string()))?;
    let code = text.trim();
    if is_code(code) { Ok(code.to_owned()) } else { Err(none("it holds no one-time code".to_owned())) }
}
