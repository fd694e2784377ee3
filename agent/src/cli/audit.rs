//! `sund audit`: the audit log, checked as a chain, and read.
use super::{ConfigFile, fail, print};
use crate::audit::{self, Anchors, Key};
use crate::config;
use crate::counted::counted;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::limits::audit::MAX_LINE;
use clap::Subcommand;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Checks that no line was changed, removed, added or moved; says where the chain ends.
    Verify(ConfigFile),
    /// Prints the log, one JSON object in each line.
    Show {
        #[command(flatten)]
        config: ConfigFile,
        /// Open the identifiers of patients and studies with the configured key. Who reads them is answerable for it.
        #[arg(long)]
        identifiers: bool,
    },
}

pub(super) fn run(command: AuditCommand) -> Exit {
    let (AuditCommand::Verify(ConfigFile { config: path })
    | AuditCommand::Show { config: ConfigFile { config: path }, .. }) = &command;
    let options = match config::check(path) {
        Ok(config) => config.audit,
        Err(problems) => {
            let _ = print(&config::render(path, &problems));
            return Exit::Usage;
        }
    };
    let done = match command {
        AuditCommand::Verify(_) => verify(&options.dir),
        AuditCommand::Show { identifiers, .. } => show(&options.dir, identifiers.then_some(&options.key)),
    };
    done.unwrap_or_else(|fault| fail(&fault))
}

fn verify(dir: &Path) -> Result<Exit, Fault> {
    let start = audit::forward::start(dir)
        .map_err(|error| Fault::new("audit-disk", Blame::Box, format!("{} cannot be read: {error}", dir.display())))?;
    let report = audit::verify(dir, &Anchors { start, head: None })
        .map_err(|broken| Fault::new("audit-chain-broken", Blame::Box, broken.to_string()))?;
    let head = report.head.map_or("no line yet".to_owned(), |head| format!("the last is {}, {}", head.seq, head.hash));
    Ok(print(&format!(
        "the chain holds: {} in {}; {head}\n",
        counted(report.lines, "line", "lines"),
        counted(report.files, "file", "files")
    )))
}

fn show(dir: &Path, key: Option<&Key>) -> Result<Exit, Fault> {
    let unreadable = |error: std::io::Error| {
        let reason = format!("the audit log in {} cannot be read: {error}", dir.display());
        Fault::new("audit-disk", Blame::Box, reason)
    };
    for (_, path) in audit::files(dir).map_err(unreadable)? {
        let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
        let mut line = String::new();
        while file.by_ref().take(MAX_LINE as u64 + 1).read_line(&mut line).map_err(unreadable)? > 0 {
            if !line.ends_with('\n') {
                // It is being written, or a crash cut it short.
                break;
            }
            match print(&format!("{}\n", shown(line.trim_end(), key)?)) {
                Exit::Ok => line.clear(),
                closed => return Ok(closed),
            }
        }
    }
    Ok(Exit::Ok)
}

/// A line as it is, or with its identifiers opened.
fn shown(line: &str, key: Option<&Key>) -> Result<String, Fault> {
    let Some(key) = key else { return Ok(line.to_owned()) };
    let opened = audit::identifiers(line, key)?;
    let mut value: Value = serde_json::from_str(line).map_err(|error| {
        Fault::new("audit-unseal", Blame::Configuration, format!("this is no line of a log: {error}"))
    })?;
    if let (Value::Object(fields), Some(opened)) = (&mut value, opened) {
        fields.insert("identifiers".to_owned(), opened);
    }
    Ok(value.to_string())
}
