//! The clinical certificate: what it must say and where it comes from.
use super::node::authorities;
use super::reader::{Document, Section};
use super::value::Time;
use crate::certificate::{Est, Settings, Url};
use crate::fault::{Blame, Fault};
use crate::limits::certificate::{ALARM, MAX_NAMES};
use rustls_pki_types::ServerName;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads `[certificate]`. The file itself may not be there yet.
pub(super) fn certificate(root: &Section<'_, '_>) -> Option<Settings> {
    let section = root.section("certificate", "certificate")?;
    section.require::<PathBuf>("file");
    let file = section.path("file");
    let folder = file.as_deref().and_then(Path::parent);
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let help = format!("make it, for the agent's user: install -d -m 0700 -o sund {}", folder.display());
        section.complain("file", &format!("{} is not a directory", folder.display()), &help);
    }
    let names = section.require::<Vec<String>>("names").unwrap_or_default();
    if names.is_empty() || names.len() > MAX_NAMES {
        section.complain("names", &format!("are not 1 to {MAX_NAMES}"), "write the names that peers call this node by");
    }
    for name in names.iter().filter(|name| ServerName::try_from(name.as_str()).is_err()) {
        let message = format!("`{name}` is neither a DNS name nor an address");
        section.complain("names", &message, "e.g. [\"sund.example.org\", \"10.20.0.10\"]");
    }
    section.require::<PathBuf>("authorities");
    let trusted = authorities(&section, "authorities").map(Arc::new);
    let own = section.entry("est_authorities").map(|_| authorities(&section, "est_authorities").map(Arc::new));
    let est = match (section.value::<String>("est").map(|url| url.parse::<Url>()), own) {
        (Some(Ok(url)), None) => trusted.clone().map(|trusted| Est::new(url, trusted)),
        (Some(Ok(url)), Some(own)) => own.map(|own| Est::new(url, own)),
        (Some(Err(why)), _) => {
            section.complain("est", why, "e.g. \"https://est.example.org\"");
            None
        }
        (None, Some(_)) => {
            section.complain("est_authorities", "has no use without `est`", "");
            None
        }
        (None, None) => None,
    };
    let alarm = section.value::<Time>("alarm").map_or(ALARM, |time| time.0);
    Some(Settings { file: file?, names, authorities: trusted?, est, alarm })
}

/// `[certificate]` of a configuration alone: the rest of it may not hold before the certificate is there.
pub fn certificate_settings(path: &Path) -> Result<Settings, Fault> {
    let wrong = |text: String| Fault::new("configuration-invalid", Blame::Configuration, text.trim_end());
    let text = super::read(path).map_err(|problem| wrong(super::render(path, &[problem])))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let (document, table) = Document::parse(&text, folder).map_err(|problem| wrong(super::render(path, &[problem])))?;
    let settings = certificate(&Section::root(&document, &table));
    let problems: Vec<_> = document.into_problems();
    let problems: Vec<_> = problems.into_iter().filter(|problem| problem.key.starts_with("certificate")).collect();
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ if problems.is_empty() => {
            Err(wrong(format!("{} does not say what certificate this node has: [certificate]", path.display())))
        }
        _ => Err(wrong(super::render(path, &problems))),
    }
}
