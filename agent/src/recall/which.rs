//! Whose results are recalled.
use crate::inference::PackageRef;
use crate::limits::recall::MAX_VERSION;
use crate::model::is_name;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A package in every version, in one, or the one of a digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Which {
    /// `NAME`.
    Every {
        /// Name in the manifest.
        name: String,
    },
    /// `NAME@VERSION`.
    Version {
        /// Name in the manifest.
        name: String,
        /// Version in the manifest.
        version: String,
    },
    /// `sha256:DIGEST`.
    Digest(String),
}

impl Which {
    /// True where it means this package.
    pub fn means(&self, package: &PackageRef) -> bool {
        self.means_one(&package.name, &package.version, &package.digest)
    }

    /// The same, of a package that is known by these three.
    pub fn means_one(&self, name: &str, version: &str, digest: &str) -> bool {
        match self {
            Self::Every { name: meant } => meant == name,
            Self::Version { name: meant, version: one } => meant == name && one == version,
            Self::Digest(one) => one == digest,
        }
    }
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_hex =
            |hex: &str| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if let Some(hex) = text.strip_prefix("sha256:") {
            let wrong = || "a digest is sha256: and 64 hexadecimal digits in lower case".to_owned();
            return is_hex(hex).then(|| Self::Digest(text.to_owned())).ok_or_else(wrong);
        }
        let is_version =
            |text: &str| (1..=MAX_VERSION).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        match text.split_once('@') {
            None if is_name(text) => Ok(Self::Every { name: text.to_owned() }),
            Some((name, version)) if is_name(name) && is_version(version) => {
                Ok(Self::Version { name: name.to_owned(), version: version.to_owned() })
            }
            _ => Err("name a package as NAME, NAME@VERSION or sha256:DIGEST".to_owned()),
        }
    }
}

impl TryFrom<String> for Which {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Which> for String {
    fn from(which: Which) -> Self {
        which.to_string()
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every { name } => f.write_str(name),
            Self::Version { name, version } => write!(f, "{name}@{version}"),
            Self::Digest(digest) => f.write_str(digest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Which;

    #[test]
    fn a_package_is_named_in_three_ways_and_no_other() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for text in ["brain", "brain@1.2.0", "brain@1.2.0-rc.1", digest.as_str()] {
            assert_eq!(text.parse::<Which>().unwrap().to_string(), text);
        }
        for wrong in ["", "Brain", "brain@", "@1.0.0", "brain@1 2", "brain@\n", "sha256:00", "sha256:", "../brain"] {
            assert!(wrong.parse::<Which>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_name_means_every_version_and_a_version_that_one_alone() {
        let means = |text: &str| text.parse::<Which>().unwrap().means_one("brain", "1.2.0", "sha256:00");
        assert!(means("brain") && means("brain@1.2.0"));
        assert!(
            !means("brain@1.2")
                && !means("brai")
                && !means("brain-2")
                && !means(&format!("sha256:{}", "00".repeat(32)))
        );
    }
}
