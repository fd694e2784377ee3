//! The desired state: one signed document that says all that a box is to run. A target `state/NAME.json` of the repository,
//! signed by the role `state`.
use crate::fault::{Blame, Fault};
use crate::limits::{MAX_BOX_PATTERN, MAX_BOX_PATTERNS, MAX_MODELS, MAX_ROUTES, MAX_STATE};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The desired state, format 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredState {
    /// 1.
    pub format: u32,
    /// Name, as in the target's path: `state/NAME.json`.
    pub name: String,
    /// Names of the boxes that it is for, each with a `*` for any part of it; absent: every box. States from before this say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boxes: Option<Vec<String>>,
    /// The operating system; absent: the box keeps what it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Os>,
    /// The agent's configuration; absent: the box keeps the file that it was provisioned with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Pin>,
    /// Models that the box holds.
    #[serde(default)]
    pub models: Vec<Model>,
    /// What each route of the configuration runs; a route that is not named here runs nothing.
    #[serde(default)]
    pub routes: BTreeMap<String, RoutePlan>,
    /// How long the box watches itself after activation before it calls the state good, in seconds.
    #[serde(default)]
    pub watch_seconds: u64,
}

/// A target of the repository, by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Path of the target.
    pub target: String,
    /// Its SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Its length in bytes.
    pub length: u64,
}

/// An operating system image: a RAUC bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Os {
    /// The bundle.
    #[serde(flatten)]
    pub bundle: Pin,
    /// Version, as in the bundle's manifest.
    pub version: String,
    /// SHA-256 of the bundle's manifest (RAUC, `require-manifest-hash`).
    pub manifest_sha256: String,
}

/// A model package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The packed file.
    #[serde(flatten)]
    pub package: Pin,
    /// Name of the package, as in its manifest.
    pub name: String,
    /// Version of the package, as in its manifest.
    pub version: String,
}

/// What a route runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutePlan {
    /// Names of packages.
    pub models: Vec<String>,
    /// Where results go.
    pub mode: Mode,
}

/// The mode of a route, set by the region's approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Results stay on the box.
    Shadow,
    /// Results are sent, with "not for diagnosis" in the pixels.
    Research,
    /// Results are sent for clinical use.
    Clinical,
}

impl DesiredState {
    /// Reads a desired state; `target` is the path under which it was signed.
    pub fn parse(target: &str, bytes: &[u8]) -> Result<Self, Fault> {
        let refused = |reason: String| Fault::new("state-invalid", Blame::Region, format!("{target}: {reason}"));
        if bytes.len() as u64 > MAX_STATE {
            return Err(refused(format!("has more than {MAX_STATE} bytes")));
        }
        let state: Self = serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
        if state.format != 1 {
            let reason = format!("{target} has format {}; this updater reads 1: update it first", state.format);
            return Err(Fault::new("state-format", Blame::Region, reason));
        }
        if target != format!("state/{}.json", state.name) {
            return Err(refused(format!("calls itself `{}`", state.name)));
        }
        if state.models.len() > MAX_MODELS || state.routes.len() > MAX_ROUTES {
            return Err(refused(format!("names more than {MAX_MODELS} models or {MAX_ROUTES} routes")));
        }
        if state.boxes.as_ref().is_some_and(|boxes| !are_patterns(boxes)) {
            return Err(refused(format!(
                "`boxes` has 1 to {MAX_BOX_PATTERNS} names of 1 to {MAX_BOX_PATTERN} letters, digits, dots, dashes, underscores and `*`"
            )));
        }
        for (n, model) in state.models.iter().enumerate() {
            if state.models[..n].iter().any(|known| known.name == model.name) {
                return Err(refused(format!("names the model `{}` twice", model.name)));
            }
        }
        for (route, plan) in &state.routes {
            for name in &plan.models {
                if !state.models.iter().any(|model| model.name == *name) {
                    return Err(refused(format!("route `{route}` runs `{name}`, which is not among its models")));
                }
            }
        }
        Ok(state)
    }

    /// Whether it is for the box of that name.
    pub fn is_for(&self, name: &str) -> bool {
        self.boxes.as_ref().is_none_or(|boxes| is_among(boxes, name))
    }

    /// Refuses to be another box's: a configuration names a site's own archive.
    pub fn check_box(&self, name: &str) -> Result<(), Fault> {
        if self.is_for(name) {
            return Ok(());
        }
        let boxes = self.boxes.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
        let reason = format!(
            "the state {} is for the boxes {boxes}, and this is {name}: leave this box out of its rollout, or have a state for it approved",
            self.name
        );
        Err(Fault::new("state-not-for-this-box", Blame::Region, reason))
    }

    /// Every target that the state needs, by role: operating system, configuration, models.
    pub fn pins(&self) -> impl Iterator<Item = &Pin> {
        let os = self.os.iter().map(|os| &os.bundle);
        os.chain(&self.configuration).chain(self.models.iter().map(|model| &model.package))
    }
}

/// Whether one of these patterns is for the box of that name.
pub fn is_among(boxes: &[String], name: &str) -> bool {
    boxes.iter().any(|pattern| matches(pattern, name))
}

fn are_patterns(boxes: &[String]) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'*');
    (1..=MAX_BOX_PATTERNS).contains(&boxes.len())
        && boxes.iter().all(|it| (1..=MAX_BOX_PATTERN).contains(&it.len()) && it.bytes().all(is_plain))
}

/// Whether a name is like a pattern, in which `*` stands for any part, also for none.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_boxs_name_and_all_else_for_itself() {
        for (pattern, name, is_like) in [
            ("*", "north-1", true),
            ("north-*", "north-1", true),
            ("north-*", "north-", true),
            ("north-*", "south-1", false),
            ("north-*", "the-north-1", false),
            ("north-1", "north-1", true),
            ("north-1", "north-10", false),
            ("*-ct", "odense-ct", true),
            ("*-ct", "odense-ct-2", false),
            ("o*-*-2", "odense-ct-2", true),
            ("ab*ba", "aba", false),
            ("a*b*c", "abbc", true),
            ("NORTH-*", "north-1", false),
        ] {
            assert_eq!(matches(pattern, name), is_like, "{pattern} {name}");
        }
    }

    #[test]
    fn a_state_that_is_for_no_box_at_all_or_for_what_is_no_name_is_refused() {
        let state = |boxes: &str| format!(r#"{{"format":1,"name":"n","boxes":{boxes}}}"#);
        let long = format!("[\"{}\"]", "x".repeat(MAX_BOX_PATTERN + 1));
        let many = format!("[\"x\"{}]", ",\"x\"".repeat(MAX_BOX_PATTERNS));
        for boxes in ["[]", "[\"\"]", "[\"a b\"]", "[\"a/b\"]", &long, &many] {
            let fault = DesiredState::parse("state/n.json", state(boxes).as_bytes()).expect_err(boxes);
            assert_eq!(fault.code, "state-invalid", "{boxes}");
        }
        for boxes in ["[\"*\"]", "[\"north-*\",\"odense.ct_1\"]"] {
            DesiredState::parse("state/n.json", state(boxes).as_bytes()).expect(boxes);
        }
    }
}
