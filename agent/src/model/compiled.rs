//! Compiled engines in a package: networks as TensorRT has built them, for one version of its library and for some GPUs.
use super::manifest::Manifest;
use super::packed::List;
use super::place::Manuscript;
use super::types::help_with;
use crate::hex::hex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What compiles, and what runs what it compiled.
pub const CLASSES: [&str; 2] = ["tensorrt-rtx", "tensorrt"];
/// Where compiled engines lie in a package.
pub const FOLDER: &str = "engines";

/// A compiled engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compiled {
    /// The network that it was compiled of.
    pub network: String,
    /// `tensorrt-rtx`, `tensorrt`.
    pub class: String,
    /// `fp32`, `fp16`.
    pub precision: String,
    /// Version of the library that compiled it, which alone runs it.
    pub version: String,
    /// The GPUs that it is for: `sm86`.
    pub architectures: Vec<String>,
    /// File in the package.
    pub file: String,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}

/// The key of `[worker]` that names the library of a class.
pub fn key(class: &str) -> &'static str {
    if class == "tensorrt-rtx" { "tensorrt_rtx" } else { "tensorrt" }
}

/// The environment variable that names the library of a class.
pub fn variable(class: &str) -> &'static str {
    if class == "tensorrt-rtx" { "SUND_TENSORRT_RTX" } else { "SUND_TENSORRT" }
}

/// The library of a class, where its variable names one.
pub fn named(class: &str) -> Option<PathBuf> {
    std::env::var_os(variable(class)).filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// `sm` and two or three digits.
pub fn is_architecture(text: &str) -> bool {
    text.strip_prefix("sm")
        .is_some_and(|digits| (2..=3).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Tells what does not hold of the entries, before any file is looked at.
pub(super) fn check(manifest: &Manifest, script: &mut Manuscript<'_>) {
    let (mut files, mut purposes) = (BTreeSet::new(), BTreeSet::new());
    for (n, one) in manifest.compiled.iter().enumerate() {
        let at = |key: &str| format!("compiled.{n}.{key}");
        if !manifest.networks.iter().any(|network| network.name == one.network) {
            let help = help_with(&one.network, manifest.networks.iter().map(|network| network.name.as_str()));
            script.complain(&at("network"), format!("there is no network `{}`", one.network), help);
        }
        if !CLASSES.contains(&one.class.as_str()) {
            let help = help_with(&one.class, CLASSES.into_iter());
            script.complain(&at("class"), format!("there is no class `{}` that compiles", one.class), help);
        } else if !manifest.engines.iter().any(|valid| valid.class == one.class && valid.precision == one.precision) {
            let message = format!("the package is not validated for {} {}", one.class, one.precision);
            script.complain(&at("precision"), message, "name it in `engines`, or leave this engine out");
        }
        let parts: Vec<&str> = one.version.split('.').collect();
        if !(2..=4).contains(&parts.len()) || parts.iter().any(|part| part.parse::<u32>().is_err()) {
            script.complain(&at("version"), format!("`{}` is not of the form 1.7.1", one.version), "");
        }
        let distinct: BTreeSet<&String> = one.architectures.iter().collect();
        if one.architectures.is_empty()
            || distinct.len() != one.architectures.len()
            || !one.architectures.iter().all(|name| is_architecture(name))
        {
            let help = "write e.g. [\"sm86\", \"sm89\"], each once";
            script.complain(&at("architectures"), "is not a list of GPU architectures", help);
        }
        if !one.file.starts_with(&format!("{FOLDER}/")) {
            script.complain(&at("file"), format!("does not lie in {FOLDER}/"), "");
        }
        if !files.insert(&one.file) {
            script.complain(&at("file"), format!("another engine is `{}`", one.file), "");
        }
        // Two of one purpose: nobody could say which one serves.
        for architecture in &one.architectures {
            if !purposes.insert((&one.network, &one.class, &one.precision, &one.version, architecture)) {
                let message =
                    format!("another engine of this network, class, precision and version is for {architecture}");
                script.complain(&at("architectures"), message, "");
            }
        }
    }
}

/// Compares the files, as the list has them, with what the manifest says; true where one is another file.
pub(super) fn compare(manifest: &Manifest, list: &List, script: &mut Manuscript<'_>) -> bool {
    let mut is_altered = false;
    for (n, one) in manifest.compiled.iter().enumerate() {
        let listed = list.members().find(|(name, _)| *name == one.file);
        if let Some((_, found)) = listed.filter(|(_, found)| hex(*found) != one.sha256) {
            is_altered = true;
            let help = format!("if this is the engine that you mean, write sha256 = \"{}\"", hex(found));
            script.complain(&format!("compiled.{n}.sha256"), format!("is not the SHA-256 of {}", one.file), help);
        }
    }
    is_altered
}
