//! What the system says of itself: os-release(5).
use crate::limits::system::{MAX_RELEASE, MAX_VARIANT};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Where it does.
pub const RELEASE: &str = "/etc/os-release";

/// The assignments of an os-release; none where there is none that can be read.
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
    pub fn read(path: &Path) -> Self {
        let mut text = String::new();
        match File::open(path).and_then(|file| file.take(MAX_RELEASE + 1).read_to_string(&mut text)) {
            Ok(read) if read as u64 <= MAX_RELEASE => Self::of(&text),
            _ => Self::default(),
        }
    }

    fn of(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        Self(lines.map(|(key, value)| (key.trim().to_owned(), unquoted(value.trim()))).collect())
    }

    /// The value of a key; an empty one is none.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Which variant it is. Where it gives itself only one of the two names, that is both.
    pub fn variant(&self) -> Option<Variant> {
        let (id, name) = (self.value("VARIANT_ID"), self.value("VARIANT"));
        Some(Variant { id: short(id.or(name)?), name: short(name.or(id)?) })
    }
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
        assert_eq!(variant("VARIANT=\"a \\\"b\\\"\"\n"), both("a \"b\"", "a \"b\""));
        for text in ["", "NAME=Sund\nVERSION_ID=1\n", "VARIANT_ID=\nVARIANT=\"\"\n", "#VARIANT_ID=debug\n"] {
            assert_eq!(variant(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_without_end_is_cut_and_a_file_without_end_is_not_read_to_it() {
        let (_, name) = variant(&format!("VARIANT=a\x1b[2J{}\n", "x".repeat(1000))).unwrap();
        assert!(name.starts_with("a[2Jxx") && name.chars().count() == MAX_VARIANT, "{name:?}");
        assert_eq!(Release::read(Path::new("/dev/zero")), Release::default());
        assert_eq!(Release::read(Path::new("/nowhere/os-release")), Release::default());
    }
}
