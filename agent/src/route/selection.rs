//! The selection rule: what a series must be for a model to run on it. Part of a model's manifest, and, to narrow it
//! further, of a route in the configuration.
use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::StandardDataDictionary;
use serde::{Deserialize, Serialize};

/// What a series must be. Every condition must hold; one that cannot be judged (an attribute is missing) does not hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// Modality (0008,0060): one of these; empty accepts any.
    pub modality: Vec<String>,
    /// SOP Class UID: one of these; empty accepts any.
    pub sop_class: Vec<String>,
    /// Fewest instances.
    pub min_instances: Option<usize>,
    /// Most instances.
    pub max_instances: Option<usize>,
    /// Conditions on attributes.
    pub require: Vec<Requirement>,
}

/// A condition on one attribute, which must hold on every instance of the series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Keyword of PS3.6 (`PatientAge`) or a tag (`(0018,0050)`).
    pub attribute: Attribute,
    /// The value is one of these (letter case does not count).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<String>>,
    /// The value is none of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none_of: Option<Vec<String>>,
    /// The value contains one of these (letter case does not count).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<Vec<String>>,
    /// The number, or the age, is not below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Bound>,
    /// The number, or the age, is not above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Bound>,
}

/// A number (`1.5`) or an age (`"18Y"`, `"6M"`, `"2W"`, `"10D"`; PS3.5 6.2, AS).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "neither a number nor an age such as \"18Y\", \"6M\", \"2W\" or \"10D\"")]
pub enum Bound {
    /// In the attribute's own unit.
    Number(f64),
    /// Days, months, weeks or years.
    Age(Age),
}

/// An age in days.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Age {
    days: f64,
}

impl Age {
    /// Days in a year, a month and a week, as ages are compared here.
    const UNITS: [(char, f64); 4] = [('Y', 365.25), ('M', 30.4375), ('W', 7.0), ('D', 1.0)];

    /// An age from days.
    pub fn from_days(days: f64) -> Self {
        Self { days }
    }

    /// The age in days.
    pub fn days(self) -> f64 {
        self.days
    }

    /// Parses `nnnU` with U one of Y, M, W, D.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let unit = text.chars().last()?;
        let (_, days) = Self::UNITS.into_iter().find(|(u, _)| *u == unit)?;
        let count: u16 = text[..text.len() - 1].parse().ok()?;
        Some(Self { days: f64::from(count) * days })
    }
}

impl TryFrom<String> for Age {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
            .ok_or_else(|| format!("`{text}` is not an age; write e.g. \"18Y\", \"6M\", \"2W\" or \"10D\""))
    }
}

impl From<Age> for String {
    fn from(age: Age) -> Self {
        let (unit, days) =
            Age::UNITS.into_iter().find(|(_, d)| (age.days / d).fract().abs() < 1e-9).unwrap_or(('D', 1.0));
        format!("{:03}{unit}", (age.days / days).round())
    }
}

/// An attribute, by keyword or tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Attribute {
    /// As written.
    pub name: String,
    /// What it stands for.
    pub tag: Tag,
}

impl TryFrom<String> for Attribute {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match StandardDataDictionary.parse_tag(&name) {
            Some(tag) => Ok(Self { name, tag }),
            None => Err(format!("`{name}` is neither a keyword of PS3.6 nor a tag such as (0018,0050)")),
        }
    }
}

impl From<Attribute> for String {
    fn from(attribute: Attribute) -> Self {
        attribute.name
    }
}

impl Attribute {
    /// Keyword for people, where the dictionary has one.
    pub fn keyword(&self) -> &str {
        StandardDataDictionary.by_tag(self.tag).map_or(self.name.as_str(), |entry| entry.alias())
    }
}
