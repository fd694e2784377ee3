//! What a site expects of its acceptance cohort: `cohort.toml` in the cohort's folder, as typed and then as checked.
use crate::fault::{Blame, Fault};
use crate::limits::cohort::{MAX_EXPECTATIONS, MAX_NAME, MAX_OF_STUDY, MAX_STUDIES};
use crate::outcome::Outcome;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

/// The file's name.
pub(super) const FILE: &str = "cohort.toml";
/// What it is that is read here.
const FORMAT: u32 = 1;

/// A cohort that can be run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cohort {
    format: u32,
    /// Share of a model's studies that must agree, from 0 to 1.
    pub(super) least_agreement: f64,
    pub(super) studies: Vec<ExpectedStudy>,
}

/// A study, and what models are expected to say of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedStudy {
    /// Below the cohort's folder; its DICOM files are of one study.
    pub(super) folder: String,
    pub(super) expected: Vec<Expected>,
}

/// What one model is expected to say of a study.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    /// Name of its package.
    pub(super) model: String,
    pub(super) outcome: Outcome,
    #[serde(default)]
    pub(super) measured: Vec<ExpectedValue>,
}

/// A number that its report must say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedValue {
    /// As the report names it: `Volume`.
    pub(super) what: String,
    /// UCUM: `ml`.
    pub(super) unit: String,
    pub(super) value: f64,
    /// The largest difference that is taken.
    pub(super) tolerance: f64,
}

/// Why a cohort cannot be run: nothing is learned about the state, so that it does not serve. It reaches the region: no name of a folder or
/// file is in it, and nothing that a site has written.
pub(super) fn unreadable(why: impl std::fmt::Display) -> Fault {
    let reason =
        format!("the site's acceptance cohort cannot be run: {why}. Mend it, or take `[channel] acceptance` away");
    Fault::new("cohort-unreadable", Blame::Configuration, reason)
}

impl Cohort {
    /// Reads the cohort of a folder.
    pub(super) fn read(folder: &Path) -> Result<Self, Fault> {
        let path = folder.join(FILE);
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_EXPECTATIONS + 1).read_to_string(&mut text));
        read.map_err(|error| unreadable(format!("{FILE}: {}", error.kind())))?;
        if text.len() as u64 > MAX_EXPECTATIONS {
            return Err(unreadable(format!("{FILE} has more than {MAX_EXPECTATIONS} bytes")));
        }
        Self::parse(&text).map_err(|why| unreadable(format!("{FILE}: {why}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let cohort: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            format!("line {line} is not what is expected there (agent/MODELS.md, section 5)")
        })?;
        if cohort.format != FORMAT {
            return Err(format!("it is of format {}, {FORMAT} is known here", cohort.format));
        }
        // Also what is no number is outside.
        if !(0.0..=1.0).contains(&cohort.least_agreement) {
            return Err("`least_agreement` is from 0 to 1".to_owned());
        }
        if cohort.studies.is_empty() || cohort.studies.len() > MAX_STUDIES {
            return Err(format!("it has 1 to {MAX_STUDIES} studies"));
        }
        let mut folders = BTreeSet::new();
        for (n, study) in (1..).zip(&cohort.studies) {
            let is_below = Path::new(&study.folder).components().all(|part| matches!(part, Component::Normal(_)));
            if study.folder.is_empty() || study.folder.len() > MAX_NAME || !is_below {
                return Err(format!("the folder of study {n} is none below the cohort's"));
            }
            if !folders.insert(&study.folder) {
                return Err(format!("the folder of study {n} stands twice"));
            }
            study.check().map_err(|why| format!("study {n}: {why}"))?;
        }
        Ok(cohort)
    }
}

impl ExpectedStudy {
    fn check(&self) -> Result<(), String> {
        if self.expected.is_empty() || self.expected.len() > MAX_OF_STUDY {
            return Err(format!("1 to {MAX_OF_STUDY} models are expected to say something of it"));
        }
        let mut models = BTreeSet::new();
        for Expected { model, measured, .. } in &self.expected {
            let is_name = |text: &String| (1..=MAX_NAME).contains(&text.len());
            if !is_name(model) || !models.insert(model) {
                return Err("what it names as a model is none, or stands twice".to_owned());
            }
            let is_value = |one: &ExpectedValue| {
                is_name(&one.what) && one.unit.len() <= MAX_NAME && one.value.is_finite() && one.tolerance >= 0.0
            };
            if measured.len() > MAX_OF_STUDY || !measured.iter().all(is_value) {
                return Err(
                    "what is measured has a name, a value that is a number and a tolerance of at least 0".to_owned()
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDS: &str = "format = 1\nleast_agreement = 0.9\n[[studies]]\nfolder = \"a/1\"\n[[studies.expected]]\n\
                         model = \"m\"\noutcome = \"no-finding\"\nmeasured = [{ what = \"Volume\", unit = \"ml\", value = 1.5, tolerance = 0.1 }]\n";

    #[test]
    fn what_is_expected_is_read_and_what_makes_no_sense_is_refused_with_its_place() {
        let cohort = Cohort::parse(HOLDS).unwrap();
        assert_eq!(
            (cohort.studies[0].folder.as_str(), cohort.studies[0].expected[0].outcome),
            ("a/1", Outcome::NoFinding)
        );
        let wrong = [
            ("format = 1", "format = 2", "format 2"),
            ("0.9", "1.1", "from 0 to 1"),
            ("0.9", "nan", "from 0 to 1"),
            ("a/1", "../1", "none below"),
            ("a/1", "/a", "none below"),
            ("\"m\"", "\"\"", "as a model is none"),
            ("no-finding", "maybe", "line 7"),
            ("0.1 }", "-0.1 }", "tolerance"),
            ("1.5", "inf", "a number"),
            ("outcome", "outcomes", "line "),
        ];
        for (from, to, told) in wrong {
            let refused = Cohort::parse(&HOLDS.replace(from, to)).unwrap_err();
            assert!(refused.contains(told), "{to}: {refused}");
            assert!(!refused.contains("a/1") && !refused.contains("maybe"), "{refused}");
        }
        let twice = HOLDS.replace("format = 1\nleast_agreement = 0.9\n", "");
        assert!(Cohort::parse(&format!("{HOLDS}{twice}")).unwrap_err().contains("stands twice"));
    }

    #[test]
    fn a_cohort_without_its_file_or_with_an_endless_one_cannot_be_run() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Cohort::read(folder.path()).unwrap_err().code, "cohort-unreadable");
        std::fs::write(folder.path().join(FILE), vec![b'#'; MAX_EXPECTATIONS as usize + 1]).unwrap();
        assert!(Cohort::read(folder.path()).unwrap_err().reason.contains("more than"));
    }
}
