//! `sund-channel provision`.
use super::Answer;
use crate::provision::{describe, sign};
use crate::repository::keys::KeyPlace;
use crate::repository::{Home, files};
use serde_json::json;
use std::path::{Path, PathBuf};
use sund_ota::fault::Fault;
use sund_ota::provision::FILE;

#[derive(Debug, clap::Args)]
pub(super) struct Provision {
    /// What the box becomes (TOML; README.md).
    description: PathBuf,
    /// The region's provisioning key: a file, or in a token (`pkcs11:...`). Its public half is in the image.
    #[arg(long)]
    key: KeyPlace,
    /// The stick, or another directory.
    #[arg(long)]
    out: PathBuf,
    /// Days for which the file can be used.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=365))]
    days: u32,
}

pub(super) fn run(directory: &Path, it: &Provision) -> Result<Answer, Fault> {
    let document = describe(&Home::open(directory)?, directory, &it.description, it.days)?;
    let file = it.out.join(FILE);
    // It may hold a one-time code.
    files::write(&file, &sign(&document, it.key.open()?.as_ref())?, 0o600)?;
    let code = if document.code.is_some() { "with its one-time code" } else { "whose code is typed at its screen" };
    let lines = vec![
        format!("{}: {} of {}, {code}", file.display(), document.name, document.region),
        format!(
            "good until {}; next: put it into the box on a stick whose file system is labelled SUND",
            document.expires
        ),
    ];
    let json = json!({ "file": file, "box": document.name, "region": document.region, "expires": document.expires });
    Ok(Answer::new(lines, json))
}
