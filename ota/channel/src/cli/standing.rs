//! What keeps a channel standing: `renew`, `refresh`, `status`, `verify`, `sweep`, and copies: `bundle`, `mirror`.
use super::root::With;
use super::{Answer, Exit, proposed};
use crate::repository::bundle::Outcome;
use crate::repository::local::Checked;
use crate::repository::{
    self, Alarm, Draft, Home, Published, Status, bundle, certificate, files, limits, local, mirror, sweep,
};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use sund_ota::authorities::{self, Believed};
use sund_ota::fault::{Blame, Fault};
use sund_ota::limits::metadata;
use url::Url;

#[derive(Debug, Args)]
pub(super) struct Refresh {
    /// targets, os, config, state or models/VENDOR.
    role: String,
    #[command(flatten)]
    with: With,
}

#[derive(Debug, Args)]
pub(super) struct Bundle {
    /// The file to write.
    file: PathBuf,
    /// Name of the desired state that it brings.
    #[arg(long)]
    state: String,
    /// How long it may be used, where its terms are still to be signed.
    #[arg(long, default_value_t = 30)]
    lifetime: i64,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Looks at the lengths of the payloads alone, and hashes none.
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Args)]
pub(super) struct Sweep {
    /// Names them, and removes none.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Mirror {
    /// Where the copy lies: `metadata/` and `targets/`, for any web server.
    directory: PathBuf,
    /// Address of the repository, with a slash at its end.
    #[arg(long)]
    from: Url,
    /// The root metadata that boxes get, brought here by a person.
    #[arg(long)]
    root: PathBuf,
    /// The authority of the server's certificate (PEM), instead of the system's; with it the channel's, where that is another one.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The mirror's own certificate (PEM), where the server asks for one: it is enrolled as a box is.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
    /// The one-time code of a mirror (`enrol new --mirror`), by which it gets its certificate and makes its key where it has none.
    #[arg(long, requires = "certificate")]
    code: Option<String>,
}

pub(super) fn renew(home: &Home) -> Result<Answer, Fault> {
    let renewal = repository::renew(home, &home.lock()?)?;
    let mut lines = vec![format!("timestamp {}, snapshot {}", renewal.timestamp, renewal.snapshot)];
    lines.extend(renewal.alarms.iter().map(alarm));
    let exit = if renewal.alarms.is_empty() { Exit::Ok } else { Exit::Failed };
    Ok(Answer::new(lines, renewal).exits(exit))
}

pub(super) fn refresh(home: &Home, it: &Refresh) -> Result<Answer, Fault> {
    let mut draft = Draft::begin(home, it.with.proposal.as_deref())?;
    draft.role(&it.role)?;
    proposed(&draft.finish(&format!("{} for another year", it.role))?, json!({}))
}

pub(super) fn status(home: &Home) -> Result<Answer, Fault> {
    let status = repository::status(home)?;
    let exit = if status.alarms.is_empty() { Exit::Ok } else { Exit::Failed };
    Ok(Answer::new(told(&status), status).exits(exit))
}

pub(super) async fn verify(home: &Home, directory: &Path, it: &Verify) -> Result<Answer, Fault> {
    let status = repository::status(home)?;
    let published = Published::must(home)?;
    let checked = local::verify(&directory.join("repository"), &status, &published, it.quick).await?;
    let Checked { holds, states, payloads, bad } = &checked;
    let mut lines: Vec<String> = bad.iter().map(|(target, bad)| format!("{target} is {bad}")).collect();
    lines.push(if *holds {
        format!("the repository holds for a box, and so do its {states} states and {payloads} payloads")
    } else {
        let bad = bad.len();
        format!("THE REPOSITORY DOES NOT HOLD: {bad} of {payloads} payloads; bring them back from a copy or a mirror")
    });
    let exit = if *holds { Exit::Ok } else { Exit::Failed };
    Ok(Answer::new(lines, checked).exits(exit))
}

pub(super) fn sweep(home: &Home, it: &Sweep) -> Result<Answer, Fault> {
    let swept = sweep::sweep(home, it.dry_run)?;
    let mut lines: Vec<String> = swept.removed.iter().map(|stray| stray.place.clone()).collect();
    let word = if it.dry_run { "would be removed" } else { "removed" };
    lines.push(format!("{word}: {} files, {} bytes", swept.removed.len(), swept.bytes));
    Ok(Answer::new(lines, swept))
}

pub(super) fn bundle(home: &Home, it: &Bundle) -> Result<Answer, Fault> {
    match bundle::bundle(home, &it.file, &it.state, it.lifetime)? {
        Outcome::Written { files, expires } => {
            let line = format!("{}: {files} files, may be used until {expires}", it.file.display());
            Ok(Answer::new(vec![line], json!({ "file": it.file, "files": files, "expires": expires })))
        }
        Outcome::Proposed(proposal) => {
            let mut answer = proposed(&proposal, json!({ "file": null }))?;
            answer.lines.push("the bundle is written when its terms are published: the same command again".to_owned());
            Ok(answer.exits(Exit::Waiting))
        }
    }
}

pub(super) async fn mirror(it: &Mirror) -> Result<Answer, Fault> {
    let root = files::read(&it.root, metadata::MAX_ROOT)?;
    let pem = |path: &Option<PathBuf>| path.as_ref().map(|path| files::read(path, limits::MAX_KEY)).transpose();
    let ca = pem(&it.ca)?;
    let signed = authorities::kept(&it.directory, &root);
    let believed = ca.map(|pem| Believed::from(&pem, signed.as_ref())).transpose().map_err(|reason| {
        let reason = format!("--ca names what can't be believed: {reason}");
        Fault::new("client-failed", Blame::Configuration, reason)
    })?;
    if let (Some(code), Some(certificate), Some(key)) = (&it.code, &it.certificate, &it.key) {
        let nobody = mirror::client(believed.as_ref(), None)?;
        certificate::enrol(certificate, key, code, believed.as_ref(), &it.from, &nobody).await?;
    }
    let (certificate, key) = (pem(&it.certificate)?, pem(&it.key)?);
    let identity = certificate.zip(key.as_ref()).map(|(certificate, key)| [&certificate[..], &key[..]].concat());
    let client = mirror::client(believed.as_ref(), identity.as_deref())?;
    // Before anything is fetched: a mirror that cannot read the repository any more is still to keep its certificate.
    let renewed = match (&it.certificate, &key) {
        (Some(path), Some(key)) => certificate::renew_if_due(path, key, believed.as_ref(), &it.from, &client).await,
        _ => Ok(()),
    };
    let mirrored = mirror::mirror(&it.directory, &it.from, root, &client).await?;
    let mirror::Mirrored { timestamp, fetched, kept, removed, busy, .. } = &mirrored;
    let line = if *busy {
        format!("timestamp {timestamp}: another run is fetching the targets")
    } else {
        format!("timestamp {timestamp}: {fetched} targets fetched, {kept} were there, {removed} are listed no more")
    };
    // The copy is new, and somebody has to look at the certificate: the command ends as a failure.
    renewed.map(|()| Answer::new(vec![line], mirrored))
}

pub(super) fn alarm(alarm: &Alarm) -> String {
    let what = match alarm.role.as_str() {
        "rescue" => "the recovery bundle",
        "server" => "the server's certificate",
        "authority" => "the authority of the channel that issues",
        role => role,
    };
    format!("ALARM: {what} ends on {} (in {} days): {}", alarm.expires, alarm.days_left, alarm.advice)
}

fn told(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(stop) = &status.stopped {
        lines.push(format!("ALL ROLLOUTS ARE STOPPED since {}: {}", stop.since, stop.reason));
    }
    for it in &status.suspensions {
        let version = it.version.as_deref().unwrap_or("every version");
        lines.push(format!("SUSPENDED: {} ({version}) since {}: {}", it.package, it.since, it.reason));
    }
    for role in &status.roles {
        let persons: Vec<&str> = role.signers.keys().map(String::as_str).collect();
        lines.push(format!(
            "{} {}, until {}: {} of {}",
            role.role,
            role.version,
            role.expires,
            role.threshold,
            persons.join(", ")
        ));
    }
    for (name, listed) in &status.targets {
        lines.push(format!("{name}, {} bytes, sha256 {}", listed.length, listed.sha256));
    }
    if let Some(rescue) = &status.rescue {
        let (version, expires) = (rescue.version, rescue.expires);
        lines.push(format!("recovery bundle, version {version}, until {expires}: {}", rescue.bundle.path));
    }
    lines.extend(status.proposals.iter().map(|id| format!("waits for signatures: {id}")));
    lines.extend(status.alarms.iter().map(alarm));
    lines
}
