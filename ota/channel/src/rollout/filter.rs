//! Which boxes a wave takes: `ring=canary`, `site=odense model!=x* 25%`.
use crate::limits::rollout::{MAX_FILTER, MAX_TERMS};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use sund_ota::fault::{Blame, Fault};

/// Attributes of a box; `name` is always among them.
pub type Attributes = BTreeMap<String, String>;

/// A filter over attributes, and how many of those that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    terms: Vec<Term>,
    /// Percent of the boxes that match and are in no earlier wave.
    pub percent: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    key: String,
    /// True where the attribute must not be so; a box without it passes then.
    not: bool,
    value: String,
    /// True where the value is a beginning (`north*`).
    prefix: bool,
}

impl Filter {
    /// Whether it asks for anything of a box; without, it means all that are left.
    pub fn has_conditions(&self) -> bool {
        !self.terms.is_empty()
    }

    /// Whether a box with these attributes is meant.
    pub fn matches(&self, attributes: &Attributes) -> bool {
        self.terms.iter().all(|term| {
            let is_so = attributes
                .get(&term.key)
                .is_some_and(|value| if term.prefix { value.starts_with(&term.value) } else { *value == term.value });
            is_so != term.not
        })
    }
}

impl FromStr for Filter {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let refuse = |why: String| {
            let reason = format!(
                "`{text}` is no group: {why}. A group is KEY=VALUE, KEY!=VALUE, KEY=BEGINNING* and N%, with spaces between."
            );
            Fault::new("rollout-group", Blame::Configuration, reason)
        };
        if text.len() > MAX_FILTER {
            return Err(refuse(format!("it has more than {MAX_FILTER} bytes")));
        }
        let mut filter = Self { terms: Vec::new(), percent: 100 };
        let mut has_percent = false;
        for word in text.split_whitespace() {
            if let Some((key, value)) = word.split_once('=') {
                let (key, not) = key.strip_suffix('!').map_or((key, false), |key| (key, true));
                let (value, prefix) = value.strip_suffix('*').map_or((value, false), |value| (value, true));
                if key.is_empty() || key.ends_with('!') || value.contains('*') {
                    return Err(refuse(format!("`{word}` says nothing")));
                }
                filter.terms.push(Term { key: key.to_owned(), not, value: value.to_owned(), prefix });
            } else if let Some(percent) = word.strip_suffix('%') {
                let percent = percent.parse().ok().filter(|percent| (1..=100).contains(percent));
                filter.percent = percent.ok_or_else(|| refuse(format!("`{word}` is not 1% to 100%")))?;
                if std::mem::replace(&mut has_percent, true) {
                    return Err(refuse("it has two percentages".to_owned()));
                }
            } else {
                return Err(refuse(format!("`{word}` says nothing")));
            }
        }
        if filter.terms.len() > MAX_TERMS {
            return Err(refuse(format!("it has more than {MAX_TERMS} conditions")));
        }
        if filter.terms.is_empty() && !has_percent {
            return Err(refuse("it is empty; all boxes that are left are 100%".to_owned()));
        }
        Ok(filter)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for term in &self.terms {
            let (is, star) = (if term.not { "!=" } else { "=" }, if term.prefix { "*" } else { "" });
            write!(f, "{}{is}{}{star} ", term.key, term.value)?;
        }
        write!(f, "{}%", self.percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_filter_means_what_it_says() {
        let odense = attributes(&[("site", "odense"), ("ring", "canary"), ("sund", "0.1.0")]);
        for (text, meant) in [
            ("site=odense", true),
            ("site=ode* ring=canary", true),
            ("site=vejle", false),
            ("site!=vejle", true),
            ("gpu!=none", true),
            ("gpu=*", false),
            ("sund!=0.*", false),
            ("10%", true),
        ] {
            assert_eq!(text.parse::<Filter>().unwrap().matches(&odense), meant, "{text}");
        }
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for text in ["", "canary", "=a", "!=a", "a=b*c", "0%", "101%", "-1%", "1% 2%", "site=a b"] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(text in "([a-z]{1,4}!?=[a-z0-9.]{0,4}\\*? ){0,3}[1-9][0-9]?%") {
            let filter: Filter = text.parse().unwrap();
            prop_assert_eq!(filter.to_string().parse::<Filter>().unwrap(), filter);
        }

        #[test]
        fn no_text_makes_it_fall(text in "\\PC{0,64}") {
            let _ = text.parse::<Filter>();
        }
    }
}
