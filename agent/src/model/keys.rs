//! Every section and key that a manifest of format 1 may have. `agent/MODELS.md` specifies each of them, and the template
//! of `sund model new` explains them.

/// The keys of one section.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Where it stands: `selection.require`. Empty for the file itself; `steps.crop` for the step `crop`.
    pub section: &'static str,
    /// Keys that must be there.
    pub required: &'static [&'static str],
    /// Keys that may be there.
    pub optional: &'static [&'static str],
}

impl Keys {
    /// All keys, those that must be there first.
    pub fn all(&self) -> impl Iterator<Item = &'static str> {
        self.required.iter().chain(self.optional).copied()
    }
}

const CODE: &[&str] = &["value", "scheme", "meaning"];

const fn section(section: &'static str, required: &'static [&'static str], optional: &'static [&'static str]) -> Keys {
    Keys { section, required, optional }
}

const fn step(name: &'static str, required: &'static [&'static str]) -> Keys {
    Keys { section: name, required, optional: &[] }
}

/// All sections.
pub const KEYS: &[Keys] = &[
    section(
        "",
        &[
            "format",
            "name",
            "title",
            "version",
            "vendor",
            "intended_use",
            "regulatory_status",
            "licence",
            "runtime",
            "engines",
            "selection",
            "input",
            "networks",
            "steps",
        ],
        &["segments", "boxes", "golden"],
    ),
    section("engines", &["class", "precision"], &[]),
    section("selection", &[], &["modality", "sop_class", "min_instances", "max_instances", "require"]),
    section("selection.require", &["attribute"], &["one_of", "none_of", "contains", "at_least", "at_most"]),
    section("networks", &["name", "file", "sha256"], &[]),
    step("steps.orient", &["do", "from", "into", "axes"]),
    step("steps.resize", &["do", "from", "into", "dims", "how"]),
    step("steps.quantiles", &["do", "from", "into", "low", "high"]),
    step("steps.clip-range", &["do", "from", "into", "range"]),
    step("steps.window", &["do", "from", "into", "center", "width"]),
    step("steps.z-score", &["do", "from", "into"]),
    step("steps.scale-offset", &["do", "from", "into", "scale", "offset"]),
    step("steps.infer", &["do", "from", "into", "network"]),
    step("steps.channel", &["do", "from", "into", "channel"]),
    step("steps.threshold", &["do", "from", "into", "above"]),
    step("steps.largest-component", &["do", "from", "into"]),
    step("steps.fill-holes", &["do", "from", "into"]),
    step("steps.occupied-region", &["do", "from", "into", "of", "occupancy", "margin"]),
    step("steps.crop", &["do", "from", "into", "region"]),
    step("steps.paste", &["do", "from", "into", "region", "onto"]),
    step("steps.onto", &["do", "from", "into", "grid", "how"]),
    step("steps.fit-image", &["do", "from", "into", "longest", "multiple", "order", "mean", "deviation"]),
    step("steps.text-boxes", &["do", "from", "into", "above", "score", "grow", "least_side"]),
    section("segments", &["from", "label", "category", "property", "colour"], &["volume_ml", "finding_from_ml"]),
    section("segments.category", CODE, &[]),
    section("segments.property", CODE, &[]),
    section("boxes", &["from", "finding"], &[]),
    section("boxes.finding", CODE, &[]),
    section("golden", &["name", "origin", "folder"], &["volume_ml", "tolerance_ml", "boxes", "least_overlap"]),
];

/// The keys of a section, where there is one of that name.
pub fn of(section: &str) -> Option<&'static Keys> {
    KEYS.iter().find(|keys| keys.section == section)
}

/// The words that may stand behind `do`.
pub fn steps() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(|keys| keys.section.strip_prefix("steps."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;
    use crate::model::manifest::{BoxSpec, Golden, Manifest, Network, SegmentSpec, ValidatedEngine};
    use crate::model::step::Step;
    use crate::route::{Requirement, Selection};
    use serde::de::DeserializeOwned;
    use std::collections::BTreeSet;

    /// serde names the fields of a type where it refuses one that it does not know.
    fn fields<T: DeserializeOwned>(text: &str) -> BTreeSet<String> {
        let error = match toml::from_str::<T>(text) {
            Ok(_) => panic!("a key that is none was taken"),
            Err(error) => error.message().to_owned(),
        };
        assert!(error.starts_with("unknown field `no-key`"), "{error}");
        error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_sections_have_the_keys_of_the_types_that_are_read() {
        let none = "no-key = 1";
        for keys in KEYS {
            let mut expected = match keys.section {
                "" => fields::<Manifest>(none),
                "engines" => fields::<ValidatedEngine>(none),
                "selection" => fields::<Selection>(none),
                "selection.require" => fields::<Requirement>(none),
                "networks" => fields::<Network>(none),
                "segments" => fields::<SegmentSpec>(none),
                "boxes" => fields::<BoxSpec>(none),
                "golden" => fields::<Golden>(none),
                code if keys.required == CODE => {
                    assert!(code.contains('.'));
                    fields::<Code>(none)
                }
                step => {
                    let name = step.strip_prefix("steps.").unwrap();
                    fields::<Step>(&format!("do = \"{name}\"\n{none}"))
                }
            };
            if keys.section.starts_with("steps.") {
                expected.insert("do".to_owned());
            }
            assert_eq!(keys.all().map(str::to_owned).collect::<BTreeSet<_>>(), expected, "{}", keys.section);
        }
    }

    #[test]
    fn every_step_has_its_section() {
        let error = toml::from_str::<Step>("do = \"no-step\"").unwrap_err().message().to_owned();
        let known: BTreeSet<&str> = error.split('`').skip(3).step_by(2).collect();
        assert_eq!(steps().collect::<BTreeSet<_>>(), known, "{error}");
    }
}
