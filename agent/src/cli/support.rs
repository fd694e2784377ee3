//! `sund support`: one archive for those who help.
use super::status::request;
use super::{ConfigFile, fail, on_runtime, print};
use crate::config;
use crate::control::{Answer, Request};
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::limits::support::{MAX_LINES, MAX_LOG};
use crate::release::RELEASE;
use crate::support::{archive, counts, figures, machine, told_of_configuration, told_of_log};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

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
        match bundle(arguments).await {
            Ok((to, lacks)) => {
                let written = format!("written: {}\n", to.display());
                print(&lacks.iter().fold(written, |text, lack| text + "not in it: " + lack + "\n"))
            }
            Err(fault) => fail(&fault),
        }
    })
}

/// Writes the archive. Where it lies, and what it lacks, for who has asked for it.
async fn bundle(arguments: &SupportArguments) -> Result<(PathBuf, Vec<String>), Fault> {
    let path = &arguments.config.config;
    let text = config::read(path).map_err(|problem| {
        Fault::new("configuration-invalid", Blame::Configuration, config::render(path, &[problem]).trim_end())
    })?;
    let mut lacks = Vec::new();
    let checked = config::check(path);
    // Only where and how many: a problem quotes what is written there.
    let problems = match &checked {
        Ok(_) => "the configuration holds\n".to_owned(),
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(|problem| problem.line.to_string()).collect();
            format!("these lines do not hold: {}\n", lines.join(", "))
        }
    };
    let (status, metrics) = match request(path, &Request::Status).await {
        Ok(Answer::Status(status)) => {
            let metrics = match request(path, &Request::Metrics).await {
                Ok(Answer::Metrics { text }) => text,
                _ => String::new(),
            };
            (json(&figures(&status)), metrics)
        }
        answer => {
            let why = answer.err().map_or_else(|| "the agent answers something else".to_owned(), |fault| fault.reason);
            lacks.push(format!("state and metrics: {why}"));
            (b"no agent answers\n".to_vec(), String::new())
        }
    };
    let audit = checked.as_ref().ok().map(|config| match counts(&config.audit.dir) {
        Ok(counts) => json(&counts),
        Err(error) => format!("the audit log cannot be read: {}\n", error.kind()).into_bytes(),
    });
    let log = match log(arguments.log.as_deref()) {
        Ok(log) if !log.is_empty() => told_of_log(&log),
        empty => {
            let why = empty.err().map_or_else(|| "there is nothing in it".to_owned(), |error| error.to_string());
            let place = arguments.log.as_ref().map_or_else(
                || "the journal of sund.service; name a file with --log".to_owned(),
                |file| file.display().to_string(),
            );
            lacks.push(format!("the log: {why} ({place})"));
            "no log was read\n".to_owned()
        }
    };
    let members = [
        ("machine.json", json(&machine(checked.as_ref().ok(), Path::new(RELEASE)))),
        ("status.json", status),
        ("metrics.txt", metrics.into_bytes()),
        ("configuration.toml", told_of_configuration(&text).into_bytes()),
        ("problems.txt", problems.into_bytes()),
        ("audit.json", audit.unwrap_or_else(|| b"{}\n".to_vec())),
        ("log.txt", log.into_bytes()),
    ];
    let bytes = archive(&members).ok_or_else(|| {
        Fault::new("support-unwritable", Blame::Sund, "a part of the bundle has no place in an archive")
    })?;
    let to = arguments.output.clone().unwrap_or_else(|| {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace(':', "");
        PathBuf::from(format!("sund-support-{now}.tar"))
    });
    write(&to, &bytes).map_err(|error| {
        Fault::new("support-unwritable", Blame::Box, format!("{} cannot be written: {error}", to.display()))
    })?;
    Ok((to, lacks))
}

fn json(value: &serde_json::Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
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
