//! The packages that the vendors have published, by name and version. Boxes compare a suspension with them letter by letter: a slip
//! would be signed and switch nothing off.
use super::roles::is_models;
use super::{Draft, formerly};
use std::collections::{BTreeMap, BTreeSet};
use sund_ota::fault::Fault;
use tough::schema::Target;

/// So many names are told where one is not known.
const MAX_NEAR: usize = 3;
/// So much of a name is compared, in characters: one that keeps the machine busy.
const MAX_COMPARED: usize = 100;

/// Versions by the name of their package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known(BTreeMap<String, BTreeSet<String>>);

impl Known {
    /// What would be listed.
    pub fn listed(draft: &Draft) -> Self {
        let mut known = Self::default();
        let published = draft.published.iter().flat_map(|published| published.roles.keys());
        for role in draft.documents.keys().chain(published).filter(|role| is_models(role)) {
            known.add(draft.targets_of(role).iter().map(|(_, target)| target));
        }
        known
    }

    /// The same, and what was published before and withdrawn: a box may have it still.
    pub fn ever(draft: &Draft) -> Result<Self, Fault> {
        let mut known = Self::listed(draft);
        if let Some(published) = &draft.published {
            for role in published.roles.keys().filter(|role| is_models(role)) {
                for targets in formerly::versions(draft.home(), published, role) {
                    known.add(targets?.targets.values());
                }
            }
        }
        Ok(known)
    }

    /// Takes in what `publish model` has said of these targets.
    pub fn add<'a>(&mut self, targets: impl Iterator<Item = &'a Target>) {
        for target in targets {
            let said = |key: &str| target.custom.get(key).and_then(|value| value.as_str()).map(str::to_owned);
            if let (Some(name), Some(version)) = (said("name"), said("version")) {
                self.0.entry(name).or_default().insert(version);
            }
        }
    }

    /// Whether there is such a package; without a version, of any version.
    pub fn holds(&self, package: &str, version: Option<&str>) -> bool {
        self.0.get(package).is_some_and(|versions| version.is_none_or(|version| versions.contains(version)))
    }

    /// What may have been meant: versions of that package, or else packages.
    pub fn near(&self, package: &str, version: Option<&str>) -> Vec<String> {
        match (self.0.get(package), version) {
            (Some(versions), Some(version)) => nearest(version, versions.iter().map(String::as_str)),
            _ => nearest(package, self.0.keys().map(String::as_str)),
        }
    }
}

fn nearest<'a>(meant: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<(usize, &str)> = names.map(|name| (distance(meant, name), name)).collect();
    all.sort_unstable();
    all.into_iter().take(MAX_NEAR).map(|(_, name)| name.to_owned()).collect()
}

/// How many letters are put in, left out or changed between two names (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let [a, b] = [a, b].map(|name| name.chars().take(MAX_COMPARED).collect::<Vec<char>>());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first() {
        assert_eq!(distance("positive-valeus", "positive-values"), 2);
        assert_eq!((distance("", "abc"), distance("abc", ""), distance("abc", "abc")), (3, 3, 0));
        let names = ["lung", "positive-values", "brain", "positive-volumes"];
        assert_eq!(nearest("positive-valeus", names.into_iter())[..2], ["positive-values", "positive-volumes"]);
    }
}
