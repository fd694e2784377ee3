//! `sund model inspect` and `sund model diff`: what is in a package, and what tells two apart.
use super::super::print;
use super::super::table::table;
use super::megabytes;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::limits::model::MAX_MANIFEST;
use crate::model::signed::Envelope;
use crate::model::{Contents, MANIFEST, Package};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

pub(super) fn inspect(path: &Path, as_json: bool) -> Result<Exit, Fault> {
    let package = Package::open(path)?;
    let envelope = package.envelope()?;
    let signers: Vec<&str> = envelope.iter().flat_map(Envelope::signatures).map(|one| one.keyid.as_str()).collect();
    let members: Vec<(&str, u64, String)> = package
        .list
        .members()
        .map(|(name, sha256)| (name, package.contents.length(name).unwrap_or_default(), hex(sha256)))
        .collect();
    let manifest = &package.manifest;
    if as_json {
        let files: Vec<Value> = members
            .iter()
            .map(|(name, length, sha256)| json!({ "name": name, "bytes": length, "sha256": sha256 }))
            .collect();
        let is_packed = matches!(package.contents, Contents::Packed(..));
        let told = json!({
            "digest": package.digest,
            "packed": is_packed,
            "claimed_signers": signers,
            "manifest": manifest,
            "files": files,
        });
        return Ok(print(&format!("{told:#}\n")));
    }
    let engines: Vec<String> = manifest.engines.iter().map(|one| format!("{} {}", one.class, one.precision)).collect();
    let golden: Vec<&str> = manifest.golden.iter().map(|case| case.name.as_str()).collect();
    let signed =
        if signers.is_empty() { "by nobody".to_owned() } else { format!("by {} (not checked)", signers.join(", ")) };
    let mut text = format!("{} {}: {}\n{}\n\n", manifest.name, manifest.version, manifest.title, package.digest);
    for (what, value) in [
        ("vendor", manifest.vendor.as_str()),
        ("use", &manifest.intended_use),
        ("status", &manifest.regulatory_status),
        ("licence", &manifest.licence),
        ("engines", &engines.join(", ")),
        ("golden cases", &golden.join(", ")),
        ("signed", &signed),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{what:<13} {value}");
    }
    for one in &manifest.compiled {
        let what = format!("{} for {} {} {}", one.network, one.class, one.version, one.precision);
        let _ = writeln!(text, "{:<13} {what}: {}", "compiled", one.architectures.join(", "));
    }
    let rows: Vec<Vec<String>> =
        members.into_iter().map(|(name, length, sha256)| vec![name.to_owned(), megabytes(length), sha256]).collect();
    text.push('\n');
    text.push_str(&table(&["file", "size", "sha256"], &rows));
    Ok(print(&text))
}

/// Ends with 0 where the two are the same package, with 1 where they differ.
pub(super) fn diff(a: &Path, b: &Path) -> Result<Exit, Fault> {
    let (one, other) = (Package::open(a)?, Package::open(b)?);
    if one.digest == other.digest {
        return Ok(print(&format!("the same package: {}\n", one.digest)));
    }
    let mut rows = Vec::new();
    let row = |what: &str, a: Option<&String>, b: Option<&String>| {
        let shown = |value: Option<&String>| value.cloned().unwrap_or_else(|| "–".to_owned());
        vec![what.to_owned(), shown(a), shown(b)]
    };
    let (ours, theirs) = (keys(&one)?, keys(&other)?);
    for key in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        if ours.get(key) != theirs.get(key) {
            rows.push(row(key, ours.get(key), theirs.get(key)));
        }
    }
    let files = |package: &Package| -> BTreeMap<String, String> {
        package.list.members().map(|(name, sha256)| (name.to_owned(), hex(&sha256[..6]))).collect()
    };
    let (ours, theirs) = (files(&one), files(&other));
    for name in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        if ours.get(name) != theirs.get(name) {
            rows.push(row(name, ours.get(name), theirs.get(name)));
        }
    }
    let heads = ["what", &a.display().to_string(), &b.display().to_string()];
    print(&table(&heads, &rows));
    Ok(Exit::Failed)
}

/// The manifest's values by their paths: `networks.0.sha256`.
fn keys(package: &Package) -> Result<BTreeMap<String, String>, Fault> {
    let invalid = |reason: String| Fault::new("package-invalid", Blame::Package, reason);
    let text = package.contents.read(MANIFEST, MAX_MANIFEST).map_err(invalid)?;
    let table: toml::Value =
        toml::from_str(&String::from_utf8_lossy(&text)).map_err(|error| invalid(error.message().to_owned()))?;
    let mut keys = BTreeMap::new();
    flatten("", &table, &mut keys);
    Ok(keys)
}

fn flatten(path: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(key, value)| flatten(&below(key), value, into)),
        toml::Value::Array(list) if list.iter().all(toml::Value::is_table) => {
            list.iter().enumerate().for_each(|(n, value)| flatten(&below(&n.to_string()), value, into));
        }
        _ => {
            into.insert(path.to_owned(), value.to_string());
        }
    }
}
