//! The list of members: a line for each, `digest  name`, in the order of their names' bytes.
use super::{ENVELOPE, LIST};
use crate::hex::hex;
use crate::limits::model::{MAX_LIST, MAX_MEMBER_NAME, MAX_MEMBERS};
use ring::digest::{SHA256, digest};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// SHA-256 of a member.
pub type Listed = [u8; 32];

/// The members of a package with their digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    members: BTreeMap<String, Listed>,
}

impl List {
    /// A list of these members. The error says what may not be in a package.
    pub fn new(members: BTreeMap<String, Listed>) -> Result<Self, String> {
        if members.len() > MAX_MEMBERS {
            return Err(format!("a package has at most {MAX_MEMBERS} files"));
        }
        let mut folded = BTreeSet::new();
        for name in members.keys() {
            if !is_member_name(name) {
                return Err(format!("`{name}` is no name of a file in a package: {NAMES}"));
            }
            if [LIST, ENVELOPE].iter().any(|own| own.eq_ignore_ascii_case(name)) {
                return Err(format!("`{name}` is a name that packing needs"));
            }
            if !folded.insert(name.to_ascii_lowercase()) {
                return Err(format!("`{name}` differs from another file in upper and lower case alone"));
            }
        }
        // A file that another one takes for a folder could not be unpacked.
        for name in &folded {
            let mut folders = name.match_indices('/').map(|(at, _)| &name[..at]);
            if let Some(folder) = folders.find(|folder| folded.contains(*folder)) {
                return Err(format!("`{folder}` is a file, and the folder of `{name}`"));
            }
        }
        Ok(Self { members })
    }

    /// Reads a list, which has one form alone.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let broken = |line: usize| format!("{LIST}, line {line}, is not `digest  name`, or not in its place");
        if text.len() > MAX_LIST {
            return Err(format!("{LIST} has {} bytes, at most {MAX_LIST} are taken", text.len()));
        }
        let text = std::str::from_utf8(text).map_err(|_| format!("{LIST} is not UTF-8"))?;
        let mut members = BTreeMap::new();
        for (n, line) in text.lines().enumerate() {
            let (digits, name) = line.split_once("  ").ok_or_else(|| broken(n + 1))?;
            let sha256 = unhex(digits).ok_or_else(|| broken(n + 1))?;
            members.insert(name.to_owned(), sha256);
        }
        let list = Self::new(members)?;
        let differs = |(a, b): (&str, &str)| a != b;
        if list.text() != text {
            let ours = list.text();
            return Err(broken(1 + text.lines().zip(ours.lines()).position(differs).unwrap_or_default()));
        }
        Ok(list)
    }

    /// The list as it is written.
    pub fn text(&self) -> String {
        self.members.iter().fold(String::new(), |mut text, (name, sha256)| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}  {name}", hex(sha256));
            text
        })
    }

    /// The digest of a package with these members: `sha256:` and the SHA-256 of the list.
    pub fn digest(&self) -> String {
        format!("sha256:{}", hex(digest(&SHA256, self.text().as_bytes()).as_ref()))
    }

    /// The members in their order.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Listed)> {
        self.members.iter().map(|(name, sha256)| (name.as_str(), sha256))
    }
}

const NAMES: &str = "letters, digits, `.`, `_`, `-`, `/` between parts that begin with a letter, a digit or `_`, at most 100 \
                     characters";

/// True for a name that a file in a package can have.
pub fn is_member_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let mut letters = part.bytes();
        letters.next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || b"._-".contains(&letter))
    };
    name.len() <= MAX_MEMBER_NAME && name.split('/').all(is_part)
}

/// 32 bytes from 64 lower-case hexadecimal digits.
fn unhex(digits: &str) -> Option<Listed> {
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Result<List, String> {
        List::new(names.iter().map(|name| ((*name).to_owned(), [0xab; 32])).collect())
    }

    #[test]
    fn a_list_is_read_back_and_has_one_form_alone() {
        let whole = list(&["model.toml", "detect.onnx", "golden/first/1.dcm"]).unwrap();
        let text = whole.text();
        assert!(text.starts_with(&format!("{}  detect.onnx\n", "ab".repeat(32))));
        assert_eq!(List::read(text.as_bytes()).unwrap(), whole);
        let lines: Vec<&str> = text.lines().collect();
        for other in [
            text.trim_end().to_owned(),
            text.replace('\n', "\r\n"),
            text.replace("  ", " *"),
            text.replace("ab", "AB"),
            format!("{}\n{}\n{}\n", lines[1], lines[0], lines[2]),
            format!("{text}{}\n", lines[2]),
            format!("{text}\n"),
        ] {
            assert!(List::read(other.as_bytes()).is_err(), "{other:?}");
        }
        let swapped = format!("{}\n{}\n{}\n", lines[0], lines[2], lines[1]);
        assert!(List::read(swapped.as_bytes()).unwrap_err().contains("line 2"), "it says which line");
    }

    #[test]
    fn no_name_leaves_the_package_or_hides_in_it() {
        for name in
            ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", ".hidden", "-rf", "a b", "æ", "a\\b", "a\nb", "a:b"]
        {
            assert!(list(&[name]).is_err(), "{name:?}");
        }
        for names in [["a", "A"], ["a", "a/b"], ["A/c", "a"], ["b", LIST], ["b", "signatures.dsse.json"]] {
            assert!(list(&names).is_err(), "{names:?}");
        }
        assert!(list(&["a-b", "a/b", "a.b", "_c/d-1_2.dcm"]).is_ok());
    }
}
