//! `sund support`: one archive for those who help.
use super::status::request;
use super::{ConfigFile, fail, on_runtime, print};
use crate::control::{Answer, Request};
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::limits::support::{MAX_LINES, MAX_LOG};
use crate::support::{Bundle, bundle, name};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `sund support` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct SupportArguments {
    #[command(flatten)]
    config: ConfigFile,
    /// The archive; by default sund-support-TIME.tar in this folder. An existing file is not overwritten.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where the log of the agent is a file; by default it is the journal's.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

pub(super) fn run(arguments: &SupportArguments) -> Exit {
    on_runtime(async {
        match written(arguments).await {
            Ok((to, lacks)) => {
                let written = format!("written: {}\n", to.display());
                print(&lacks.iter().fold(written, |text, lack| text + "not in it: " + lack + "\n"))
            }
            Err(fault) => fail(&fault),
        }
    })
}

/// Writes the archive. Where it lies, and what it lacks, for who has asked for it.
async fn written(arguments: &SupportArguments) -> Result<(PathBuf, Vec<String>), Fault> {
    let own = &arguments.config.config;
    let state = match request(own, &Request::Status).await {
        Ok(Answer::Status(status)) => match request(own, &Request::Metrics).await {
            Ok(Answer::Metrics { text }) => Ok((*status, text)),
            _ => Ok((*status, String::new())),
        },
        Ok(_) => Err("the agent answers something else".to_owned()),
        Err(fault) => Err(fault.reason),
    };
    let log = match log(arguments.log.as_deref()) {
        Ok(log) if !log.is_empty() => Ok(log),
        empty => {
            let why = empty.err().map_or_else(|| "there is nothing in it".to_owned(), |error| error.to_string());
            let place = arguments.log.as_ref().map_or_else(
                || "the journal of sund.service; name a file with --log".to_owned(),
                |file| file.display().to_string(),
            );
            Err(format!("{why} ({place})"))
        }
    };
    let Bundle { bytes, lacks } = bundle(own, state, log, "")?;
    let to = arguments.output.clone().unwrap_or_else(|| PathBuf::from(name()));
    write(&to, &bytes).map_err(|error| {
        Fault::new("support-unwritable", Blame::Box, format!("{} cannot be written: {error}", to.display()))
    })?;
    Ok((to, lacks))
}

/// The end of a file, or of the journal of agent and workers.
fn log(file: Option<&Path>) -> io::Result<String> {
    let mut bytes = Vec::new();
    match file {
        Some(path) => {
            let mut file = File::open(path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(MAX_LOG)))?;
            file.take(MAX_LOG).read_to_end(&mut bytes)?;
        }
        None => {
            let lines = format!("--lines={MAX_LINES}");
            let arguments = ["--quiet", "--no-pager", "--output=cat", "--unit=sund.service", &lines];
            bytes = Command::new("journalctl").args(arguments).output()?.stdout;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(to: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    file.write_all(bytes)?;
    file.sync_all()
}
