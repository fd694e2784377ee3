//! Why a package is recalled, in the words of the person who does it.
use crate::limits::recall::MAX_REASON;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A line of text. It goes into notes, timelines and the audit log's open part: it must name nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reason(String);

impl FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > MAX_REASON || text.chars().any(char::is_control) {
            return Err(format!("a reason is one line of 1 to {MAX_REASON} characters, and names no patient"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Reason {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn a_reason_is_one_line_that_is_not_empty_and_not_endless() {
        assert_eq!(" boxes shifted ".parse::<Reason>().unwrap().to_string(), "boxes shifted");
        for wrong in ["", "  ", "two\nlines", "a\u{0}b", &"x".repeat(1000)] {
            assert!(wrong.parse::<Reason>().is_err(), "{wrong:?}");
        }
    }
}
