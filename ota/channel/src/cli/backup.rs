//! `sund-channel backup`
use super::Answer;
use crate::database;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use sund_ota::fault::Fault;

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The file to write; one that is there is replaced.
    file: PathBuf,
}

pub(super) fn run(home: &Path, it: &Backup) -> Result<Answer, Fault> {
    database::copy(home, &it.file)?;
    let line = format!("{}: all that the server had said was done", it.file.display());
    Ok(Answer::new(vec![line], json!({ "file": it.file })))
}
