//! Every section and key that a manifest of format 1 may have. `agent/MODELS.md` specifies each of them, and the template
//! of `sund model new` explains them.
use super::types::Type;

/// The keys of one section.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Where it stands: `selection.require`. Empty for the file itself; `steps.crop` for the step `crop`.
    pub section: &'static str,
    required: &'static [Key],
    optional: &'static [Key],
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// What it is called.
    pub name: &'static str,
    /// What may stand behind it.
    pub value: Type,
}

impl Keys {
    /// The keys that must be there.
    pub fn required(&self) -> impl Iterator<Item = &'static Key> {
        let of_every_step = if self.section.starts_with("steps.") { STEP } else { &[] };
        of_every_step.iter().chain(self.required)
    }

    /// All keys, those that must be there first.
    pub fn all(&self) -> impl Iterator<Item = &'static str> {
        self.required().chain(self.optional).map(|key| key.name)
    }

    /// The key of a name.
    pub fn find(&self, name: &str) -> Option<&'static Key> {
        self.required().chain(self.optional).find(|key| key.name == name)
    }
}

const fn key(name: &'static str, value: Type) -> Key {
    Key { name, value }
}

const fn text(name: &'static str) -> Key {
    key(name, Type::Text)
}

const fn number(name: &'static str) -> Key {
    key(name, Type::Number)
}

const fn count(name: &'static str) -> Key {
    key(name, Type::Count)
}

const fn section(section: &'static str, required: &'static [Key], optional: &'static [Key]) -> Keys {
    Keys { section, required, optional }
}

const fn step(section: &'static str, required: &'static [Key]) -> Keys {
    Keys { section, required, optional: &[] }
}

/// What every step has.
const STEP: &[Key] = &[text("do"), text("from"), text("into")];
const CODE: &[Key] = &[text("value"), text("scheme"), text("meaning")];
const TENSOR: &[Key] = &[text("name"), key("type", Type::Word(&["float32"])), key("shape", Type::Shape)];
const DIMS: Key = key("dims", Type::Counts);
const HOW: Key = key("how", Type::Word(&["linear", "nearest"]));

/// All sections.
pub const KEYS: &[Keys] = &[
    section(
        "",
        &[
            count("format"),
            text("name"),
            text("title"),
            text("version"),
            text("vendor"),
            text("intended_use"),
            text("regulatory_status"),
            text("licence"),
            key("runtime", Type::Word(&["declared", "external"])),
            key("engines", Type::Sections),
            key("selection", Type::Section),
            key("input", Type::Word(&["volume", "images"])),
            key("networks", Type::Sections),
            key("steps", Type::Sections),
        ],
        &[
            key("documents", Type::Section),
            key("compiled", Type::Sections),
            key("segments", Type::Sections),
            key("boxes", Type::Section),
            key("golden", Type::Sections),
        ],
    ),
    section("documents", &[text("card"), text("licence"), text("sbom")], &[]),
    section("engines", &[text("class"), text("precision")], &[]),
    section(
        "selection",
        &[],
        &[
            key("modality", Type::Texts),
            key("sop_class", Type::Texts),
            count("min_instances"),
            count("max_instances"),
            key("require", Type::Sections),
        ],
    ),
    section(
        "selection.require",
        &[key("attribute", Type::Attribute)],
        &[
            key("one_of", Type::Texts),
            key("none_of", Type::Texts),
            key("contains", Type::Texts),
            key("at_least", Type::Bound),
            key("at_most", Type::Bound),
        ],
    ),
    section(
        "networks",
        &[text("name"), text("file"), text("sha256"), key("input", Type::Section), key("output", Type::Section)],
        &[],
    ),
    section("networks.input", TENSOR, &[]),
    section("networks.output", TENSOR, &[]),
    section(
        "compiled",
        &[
            text("network"),
            text("class"),
            text("precision"),
            text("version"),
            key("architectures", Type::Texts),
            text("file"),
            text("sha256"),
        ],
        &[],
    ),
    step("steps.orient", &[text("axes")]),
    step("steps.resize", &[DIMS, HOW]),
    step("steps.resample", &[key("spacing", Type::Numbers), HOW]),
    step("steps.pad", &[DIMS, number("value")]),
    step("steps.quantiles", &[number("low"), number("high")]),
    step("steps.clip-range", &[text("range")]),
    step("steps.window", &[number("center"), number("width")]),
    step("steps.z-score", &[]),
    step("steps.scale-offset", &[number("scale"), number("offset")]),
    step("steps.infer", &[text("network")]),
    step("steps.softmax", &[]),
    step("steps.argmax", &[count("label")]),
    step("steps.channel", &[count("channel")]),
    step("steps.threshold", &[number("above")]),
    step("steps.largest-component", &[]),
    step("steps.fill-holes", &[]),
    step("steps.occupied-region", &[text("of"), number("occupancy"), number("margin")]),
    step("steps.crop", &[text("region")]),
    step("steps.paste", &[text("region"), text("onto")]),
    step("steps.onto", &[text("grid"), HOW]),
    step(
        "steps.fit-image",
        &[
            count("longest"),
            count("multiple"),
            key("order", Type::Word(&["rgb", "bgr"])),
            number("mean"),
            number("deviation"),
        ],
    ),
    step("steps.text-boxes", &[number("above"), number("score"), number("grow"), count("least_side")]),
    section(
        "segments",
        &[
            text("from"),
            text("label"),
            key("category", Type::Section),
            key("property", Type::Section),
            key("colour", Type::Colour),
        ],
        &[key("volume_ml", Type::Boolean), number("finding_from_ml")],
    ),
    section("segments.category", CODE, &[]),
    section("segments.property", CODE, &[]),
    section("boxes", &[text("from"), key("finding", Type::Section)], &[]),
    section("boxes.finding", CODE, &[]),
    section(
        "golden",
        &[text("name"), text("origin"), text("folder")],
        &[
            number("volume_ml"),
            number("tolerance_ml"),
            text("mask"),
            number("least_dice"),
            key("boxes", Type::Boxes),
            number("least_overlap"),
            key("scores", Type::AnyNumbers),
            number("tolerance_score"),
        ],
    ),
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
    use crate::model::compiled::Compiled;
    use crate::model::manifest::{BoxSpec, Documents, Golden, Manifest, Network, SegmentSpec, ValidatedEngine};
    use crate::model::step::Step;
    use crate::model::tensors::TensorSpec;
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
                "documents" => fields::<Documents>(none),
                "engines" => fields::<ValidatedEngine>(none),
                "selection" => fields::<Selection>(none),
                "selection.require" => fields::<Requirement>(none),
                "networks" => fields::<Network>(none),
                "compiled" => fields::<Compiled>(none),
                "networks.input" | "networks.output" => fields::<TensorSpec>(none),
                "segments" => fields::<SegmentSpec>(none),
                "boxes" => fields::<BoxSpec>(none),
                "golden" => fields::<Golden>(none),
                other => match other.strip_prefix("steps.") {
                    Some(name) => fields::<Step>(&format!("do = \"{name}\"\n{none}")),
                    None => fields::<Code>(none),
                },
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
