//! What the system says of itself: os-release(5).
use crate::fault::{Blame, Fault};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// os-release and the boot id, in bytes.
const MAX_BYTES: u64 = 64 * 1024;
/// Characters of what a variant is called: it stands in one line of a screen.
const MAX_VARIANT: usize = 48;

/// The assignments of an os-release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release(BTreeMap<String, String>);

/// That a system is not the one for patients, e.g. one with a shell. One that is says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// For programs, e.g. `debug` (`VARIANT_ID`).
    pub id: String,
    /// For people (`VARIANT`).
    pub name: String,
}

impl Release {
    /// Reads it.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        Ok(Self::of(&text(path)?))
    }

    fn of(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        Self(lines.map(|(key, value)| (key.trim().to_owned(), unquoted(value.trim()))).collect())
    }

    /// The version of the system: of its image, else of its release.
    pub fn version(&self) -> Option<&str> {
        self.value("IMAGE_VERSION").or_else(|| self.value("VERSION_ID"))
    }

    /// Which variant it is. Where it gives itself only one of the two names, that is both.
    pub fn variant(&self) -> Option<Variant> {
        let (id, name) = (self.value("VARIANT_ID"), self.value("VARIANT"));
        Some(Variant { id: short(id.or(name)?), name: short(name.or(id)?) })
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// A short file in which the system says what it is.
pub(crate) fn text(path: &Path) -> Result<String, Fault> {
    let unreadable = |reason: String| {
        Fault::new("os-unknown", Blame::Box, format!("{} does not say what runs: {reason}", path.display()))
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if read as u64 > MAX_BYTES { Err(unreadable("it is too long".to_owned())) } else { Ok(text) }
}

/// As a shell reads an assignment: within single quotes as it stands, else a backslash stands before what it protects.
fn unquoted(value: &str) -> String {
    let within = |quote: char| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
    if let Some(value) = within('\'') {
        return value.to_owned();
    }
    let mut plain = String::new();
    let mut letters = within('"').unwrap_or(value).chars();
    while let Some(letter) = letters.next() {
        plain.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    plain
}

fn short(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(MAX_VARIANT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(text: &str) -> Option<(String, String)> {
        Release::of(text).variant().map(|variant| (variant.id, variant.name))
    }

    #[test]
    fn a_system_that_gives_itself_one_name_of_a_variant_is_one_and_a_system_for_patients_is_none() {
        let both = |id: &str, name: &str| Some((id.to_owned(), name.to_owned()));
        let debug = "NAME=Sund\nVARIANT=\"DEBUG: not for patients\"\nVARIANT_ID=debug\n";
        assert_eq!(variant(debug), both("debug", "DEBUG: not for patients"));
        assert_eq!(variant("VARIANT_ID='debug'"), both("debug", "debug"));
        assert_eq!(variant("VARIANT=a\\ b\n"), both("a b", "a b"));
        assert_eq!(variant("VARIANT=\"a \\\"b\\\" \\\\\""), both("a \"b\" \\", "a \"b\" \\"));
        for text in ["", "NAME=Sund\nVERSION_ID=1\n", "VARIANT_ID=\nVARIANT=\"\"\n", "#VARIANT_ID=debug\n"] {
            assert_eq!(variant(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_without_end_is_cut_and_commands_no_terminal() {
        let (id, name) = variant(&format!("VARIANT=a\x1b[2J\u{9b}31m{}\n", "x".repeat(1000))).expect("a variant");
        assert!(name.starts_with("a[2J31mxx") && name.chars().count() == MAX_VARIANT && id == name, "{name:?}");
    }

    #[test]
    fn a_file_without_end_is_not_read_to_it() {
        let fault = Release::read(Path::new("/dev/zero")).expect_err("it has no end");
        assert!(fault.code == "os-unknown" && fault.reason.contains("too long"), "{fault}");
    }

    #[test]
    fn the_last_of_two_assignments_counts_as_in_a_shell() {
        let release = Release::of("IMAGE_VERSION=1\nVERSION_ID=3\nIMAGE_VERSION=2\n");
        assert_eq!(release.version(), Some("2"));
    }
}
