//! Judges one selection rule against one series, and says why.
use super::selection::{Age, Bound, Requirement, Selection};
use crate::counted::counted;
use crate::dataset::Header;
use dicom_dictionary_std::tags;
use std::fmt;

/// Why a model does not run on a series. The text names attributes and the rule, never a patient's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The modality is another.
    Modality {
        /// What the series has.
        found: String,
    },
    /// The SOP class is another.
    SopClass {
        /// What the series has.
        found: String,
    },
    /// Too few instances.
    TooFew {
        /// Instances there are.
        found: usize,
        /// Instances needed.
        need: usize,
    },
    /// Too many instances.
    TooMany {
        /// Instances there are.
        found: usize,
        /// Instances allowed.
        most: usize,
    },
    /// The attribute is absent or empty in at least one instance: it cannot be judged, so the model does not run.
    Missing {
        /// Keyword.
        attribute: String,
    },
    /// The attribute is there, and outside the rule.
    Outside {
        /// Keyword.
        attribute: String,
        /// The rule, for people.
        rule: String,
    },
}

impl Unfit {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Unfit::Modality { .. } => "not-for-modality",
            Unfit::SopClass { .. } => "not-for-sop-class",
            Unfit::TooFew { .. } => "too-few-instances",
            Unfit::TooMany { .. } => "too-many-instances",
            Unfit::Missing { .. } => "attribute-missing",
            Unfit::Outside { .. } => "attribute-outside-rule",
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Modality { found } => write!(f, "not meant for modality {found}"),
            Unfit::SopClass { found } => write!(f, "not meant for SOP class {found}"),
            Unfit::TooFew { found, need } => write!(f, "{}, at least {need} needed", instances(*found)),
            Unfit::TooMany { found, most } => write!(f, "{}, at most {most} taken", instances(*found)),
            Unfit::Missing { attribute } => write!(f, "{attribute} is missing, so it cannot be judged"),
            Unfit::Outside { attribute, rule } => write!(f, "{attribute} is not {rule}"),
        }
    }
}

fn instances(n: usize) -> String {
    counted(n, "instance", "instances")
}

/// Judges a rule against the headers of one series; every reason that speaks against it, none where it fits.
pub fn judge(rule: &Selection, series: &[&Header]) -> Vec<Unfit> {
    let mut unfit = Vec::new();
    let Some(first) = series.first() else {
        return vec![Unfit::TooFew { found: 0, need: 1 }];
    };
    let modality = first.text(tags::MODALITY).unwrap_or_default();
    if !rule.modality.is_empty() && !rule.modality.contains(&modality) {
        let found = if modality.is_empty() { "(none given)".into() } else { modality };
        unfit.push(Unfit::Modality { found });
    }
    let sop_class = |h: &Header| h.text(tags::SOP_CLASS_UID).unwrap_or_default();
    if !rule.sop_class.is_empty()
        && let Some(other) = series.iter().map(|h| sop_class(h)).find(|c| !rule.sop_class.contains(c))
    {
        unfit.push(Unfit::SopClass { found: other });
    }
    if let Some(need) = rule.min_instances.filter(|n| series.len() < *n) {
        unfit.push(Unfit::TooFew { found: series.len(), need });
    }
    if let Some(most) = rule.max_instances.filter(|n| series.len() > *n) {
        unfit.push(Unfit::TooMany { found: series.len(), most });
    }
    for requirement in &rule.require {
        if let Some(reason) = series.iter().find_map(|header| judge_one(requirement, header)) {
            unfit.push(reason);
        }
    }
    unfit
}

fn judge_one(requirement: &Requirement, header: &Header) -> Option<Unfit> {
    let attribute = requirement.attribute.keyword().to_owned();
    let texts =
        || -> Vec<String> { header.texts(requirement.attribute.tag).into_iter().filter(|t| !t.is_empty()).collect() };
    let outside = |rule: String| Some(Unfit::Outside { attribute: attribute.clone(), rule });
    let missing = || Some(Unfit::Missing { attribute: attribute.clone() });

    if requirement.one_of.is_some() || requirement.none_of.is_some() || requirement.contains.is_some() {
        let texts = texts();
        if texts.is_empty() {
            return missing();
        }
        let any = |wanted: &[String], hit: fn(&str, &str) -> bool| {
            texts.iter().any(|t| wanted.iter().any(|w| hit(&t.to_lowercase(), &w.to_lowercase())))
        };
        if let Some(wanted) = requirement.one_of.as_deref().filter(|w| !any(w, |t, w| t == w)) {
            return outside(format!("one of {}", wanted.join(", ")));
        }
        if let Some(unwanted) = requirement.none_of.as_deref().filter(|w| any(w, |t, w| t == w)) {
            return outside(format!("other than {}", unwanted.join(", ")));
        }
        if let Some(wanted) = requirement.contains.as_deref().filter(|w| !any(w, |t, w| t.contains(w))) {
            return outside(format!("a text that contains one of {}", wanted.join(", ")));
        }
    }
    for (bound, is_lower) in [(requirement.at_least.as_ref(), true), (requirement.at_most.as_ref(), false)]
        .into_iter()
        .filter_map(|(b, lower)| b.map(|b| (b, lower)))
    {
        let (found, limit, shown) = match bound {
            Bound::Number(n) => (header.number(requirement.attribute.tag), *n, n.to_string()),
            Bound::Age(age) => (age_days(header, requirement), age.days(), String::from(*age)),
        };
        let Some(found) = found.filter(|v| v.is_finite()) else {
            return missing();
        };
        if if is_lower { found < limit } else { found > limit } {
            return outside(format!("{} {shown}", if is_lower { "at least" } else { "at most" }));
        }
    }
    None
}

/// The age as sent, or, for an absent Patient's Age, the days from birth to the study.
fn age_days(header: &Header, requirement: &Requirement) -> Option<f64> {
    if let Some(age) = header.text(requirement.attribute.tag).and_then(|text| Age::parse(&text)) {
        return Some(age.days());
    }
    if requirement.attribute.tag != tags::PATIENT_AGE {
        return None;
    }
    let day = |tag| header.text(tag).and_then(|text| day_number(&text));
    let (born, studied) = (day(tags::PATIENT_BIRTH_DATE)?, day(tags::STUDY_DATE)?);
    (studied >= born).then(|| (studied - born) as f64)
}

/// Days since 1 March of year 0, for a DA value (`YYYYMMDD`).
fn day_number(date: &str) -> Option<i64> {
    let date = date.trim();
    if date.len() != 8 || !date.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (y, m, d): (i64, i64, i64) = (date[..4].parse().ok()?, date[4..6].parse().ok()?, date[6..].parse().ok()?);
    if !(1..=12).contains(&m) || !(1..=31).contains(&d) {
        return None;
    }
    // The year is taken to begin in March, so that the leap day is its last.
    let (y, m) = if m > 2 { (y, m - 3) } else { (y - 1, m + 9) };
    Some(365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Element;
    use dicom_core::{Tag, VR};

    fn header(values: &[(Tag, VR, &str)]) -> Header {
        let mut header = Header { transfer_syntax: "1.2.840.10008.1.2.1".into(), ..Header::default() };
        for (tag, vr, value) in values {
            header.elements.insert(*tag, Element { vr: *vr, value: value.as_bytes().to_vec() });
        }
        header
    }

    fn rule(toml: &str) -> Selection {
        toml::from_str(toml).expect("rule")
    }

    const ADULT: &str = "modality = ['MR']\n[[require]]\nattribute = 'PatientAge'\nat_least = '18Y'";

    #[test]
    fn an_adult_rule_judges_the_age_as_sent_or_from_the_dates() {
        let sent = header(&[(tags::MODALITY, VR::CS, "MR"), (tags::PATIENT_AGE, VR::AS, "017Y")]);
        let dates = |born: &str| {
            header(&[
                (tags::MODALITY, VR::CS, "MR"),
                (tags::PATIENT_BIRTH_DATE, VR::DA, born),
                (tags::STUDY_DATE, VR::DA, "20260229"),
            ])
        };
        assert_eq!(judge(&rule(ADULT), &[&sent])[0].code(), "attribute-outside-rule");
        assert_eq!(judge(&rule(ADULT), &[&dates("20100101")])[0].code(), "attribute-outside-rule");
        assert!(judge(&rule(ADULT), &[&dates("19800101")]).is_empty());
    }

    #[test]
    fn a_missing_attribute_means_not_applicable_even_if_only_one_instance_lacks_it() {
        let has = header(&[(tags::MODALITY, VR::CS, "MR"), (tags::PATIENT_AGE, VR::AS, "040Y")]);
        let lacks = header(&[(tags::MODALITY, VR::CS, "MR")]);
        assert!(judge(&rule(ADULT), &[&has, &has]).is_empty());
        assert_eq!(judge(&rule(ADULT), &[&has, &lacks]), [Unfit::Missing { attribute: "PatientAge".into() }]);
    }

    #[test]
    fn numbers_and_texts_are_judged_and_the_reason_does_not_repeat_the_value() {
        let r = rule(
            "[[require]]\nattribute = '(0018,0050)'\nat_most = 3.0\n[[require]]\nattribute = 'BodyPartExamined'\none_of = ['HEAD', 'BRAIN']\n[[require]]\nattribute='Manufacturer'\ncontains=['siemens']",
        );
        let h = header(&[
            (tags::SLICE_THICKNESS, VR::DS, "5.0"),
            (tags::BODY_PART_EXAMINED, VR::CS, "brain"),
            (tags::MANUFACTURER, VR::LO, "SIEMENS Healthineers"),
        ]);
        let reasons = judge(&r, &[&h]);
        assert_eq!(reasons.len(), 1);
        assert_eq!(reasons[0].to_string(), "SliceThickness is not at most 3");
    }

    #[test]
    fn an_unknown_attribute_is_refused_when_the_rule_is_read() {
        let error = toml::from_str::<Selection>("[[require]]\nattribute = 'PatientAeg'").unwrap_err();
        assert!(error.to_string().contains("neither a keyword"), "{error}");
    }

    #[test]
    fn ages_are_days_and_are_written_as_they_were_read() {
        for text in ["018Y", "006M", "002W", "010D"] {
            assert_eq!(String::from(Age::parse(text).unwrap()), text);
        }
        assert_eq!(day_number("20240301").unwrap() - day_number("20240228").unwrap(), 2);
    }
}
