//! What must hold of a manifest beyond its keys and types. Each problem is told at the key that it is about.
use super::compiled;
use super::kinds;
use super::manifest::{Golden, Input, Manifest, Runtime, SegmentSpec};
use super::place::Manuscript;
use super::rule;
use super::step::Step;
use super::tensors;
use super::types::help_with;
use crate::code::Code;
use crate::limits::model::{MAX_SIDE, MAX_STEPS, MAX_VOXELS};
use std::collections::BTreeSet;
use sund_kernels::Orientation;

/// Engine classes of format 1.
pub const ENGINES: [&str; 4] = ["tract", "onnxruntime", "tensorrt-rtx", "tensorrt"];
/// Precisions of format 1.
pub const PRECISIONS: [&str; 2] = ["fp32", "fp16"];
/// Longest sentence, in bytes.
const MAX_TEXT: usize = 1000;
/// Longest text that DICOM keeps a label or a meaning in (PS3.5 6.2: LO), in characters.
const MAX_LABEL: usize = 64;
/// Coding schemes that a package's codes may be of (PS3.16 table 8-1), beside private ones.
const SCHEMES: [&str; 3] = ["SCT", "RADLEX", "DCM"];
/// Longest Code Value and Coding Scheme Designator (PS3.5 6.2: SH), in characters.
const MAX_CODE: usize = 16;

/// Tells all that does not hold.
pub(super) fn check(manifest: &Manifest, script: &mut Manuscript<'_>) {
    identity(manifest, script);
    engines(manifest, script);
    rule::check(&manifest.selection, script);
    networks(manifest, script);
    compiled::check(manifest, script);
    steps(manifest, script);
    kinds::check(manifest, &mut |path, message| script.complain(&path, message, ""));
    tensors::check(manifest, script);
    results(manifest, script);
    for (n, case) in manifest.golden.iter().enumerate() {
        golden(manifest, n, case, script);
    }
}

/// Lower-case letters, digits and hyphens, at most 64 of them.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn identity(manifest: &Manifest, script: &mut Manuscript<'_>) {
    if !is_name(&manifest.name) {
        let help = "a name has 1 to 64 lower-case letters, digits and hyphens";
        script.complain("name", format!("`{}` cannot be a name", manifest.name), help);
    }
    let parts: Vec<&str> = manifest.version.split('.').collect();
    if parts.len() != 3 || parts.iter().any(|part| part.parse::<u32>().is_err()) {
        script.complain("version", format!("`{}` is not of the form 1.2.3", manifest.version), "");
    }
    for (key, text) in [
        ("title", &manifest.title),
        ("vendor", &manifest.vendor),
        ("intended_use", &manifest.intended_use),
        ("regulatory_status", &manifest.regulatory_status),
        ("licence", &manifest.licence),
    ] {
        sentence(key, text, script);
    }
    if manifest.runtime == Runtime::External {
        script.complain("runtime", "`external` is reserved for a later format and cannot be run yet", "");
    }
}

fn sentence(path: &str, text: &str, script: &mut Manuscript<'_>) {
    if text.trim().is_empty() {
        script.complain(path, "is empty", "");
    } else if text.len() > MAX_TEXT {
        script.complain(path, format!("is longer than {MAX_TEXT} bytes"), "");
    }
}

fn engines(manifest: &Manifest, script: &mut Manuscript<'_>) {
    if manifest.engines.is_empty() {
        script.complain("engines", "names no engine that the model is validated for", "");
    }
    for (n, engine) in manifest.engines.iter().enumerate() {
        let words = [("class", &engine.class, &ENGINES[..]), ("precision", &engine.precision, &PRECISIONS[..])];
        for (key, word, known) in words {
            if known.contains(&word.as_str()) {
                continue;
            }
            let help = help_with(word, known.iter().copied());
            script.complain(&format!("engines.{n}.{key}"), format!("there is no {key} `{word}`"), help);
        }
    }
}

fn networks(manifest: &Manifest, script: &mut Manuscript<'_>) {
    if manifest.networks.is_empty() {
        script.complain("networks", "names no network", "");
    }
    let mut names = BTreeSet::new();
    for (n, network) in manifest.networks.iter().enumerate() {
        if !is_name(&network.name) {
            let message = format!("`{}` is not of lower-case letters, digits and hyphens", network.name);
            script.complain(&format!("networks.{n}.name"), message, "");
        }
        if !names.insert(&network.name) {
            script.complain(&format!("networks.{n}.name"), format!("another is named `{}`", network.name), "");
        }
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if network.sha256.len() != 64 || !network.sha256.bytes().all(is_hex) {
            let help = format!("write what this says: sha256sum {}", network.file);
            script.complain(&format!("networks.{n}.sha256"), "is not 64 lower-case hexadecimal digits", help);
        }
    }
}

fn steps(manifest: &Manifest, script: &mut Manuscript<'_>) {
    if manifest.steps.len() > MAX_STEPS {
        script.complain("steps", format!("there are more than {MAX_STEPS}"), "");
    }
    let mut made = BTreeSet::from(["input"]);
    for (n, step) in manifest.steps.iter().enumerate() {
        let (_, into) = step.values();
        if into.is_empty() || into.len() > MAX_LABEL {
            script.complain(&format!("steps.{n}.into"), format!("is empty or longer than {MAX_LABEL} bytes"), "");
        } else if !made.insert(into) {
            let help = "each value is made once: take another name";
            script.complain(&format!("steps.{n}.into"), format!("there is a value `{into}` already"), help);
        }
        if let Step::Infer { network, .. } = step
            && !manifest.networks.iter().any(|known| known.name == *network)
        {
            let help = help_with(network, manifest.networks.iter().map(|network| network.name.as_str()));
            script.complain(&format!("steps.{n}.network"), format!("there is no network `{network}`"), help);
        }
        parameters(step, &mut |key, message| script.complain(&format!("steps.{n}.{key}"), message, ""));
    }
}

/// Parameters that no operation could work with.
fn parameters(step: &Step, complain: &mut dyn FnMut(&str, String)) {
    let mut must = |holds: bool, key: &str, message: &str| {
        if !holds {
            complain(key, message.to_owned());
        }
    };
    let is_share = |share: f64| (0.0..=1.0).contains(&share);
    match step {
        Step::Orient { axes, .. } => {
            must(
                Orientation::parse(axes).is_ok(),
                "axes",
                "is not three letters, one each of R/L, A/P, S/I, e.g. \"RAS\"",
            );
        }
        Step::Resize { dims, .. } | Step::Pad { dims, .. } => {
            let voxels = dims.iter().try_fold(1_usize, |n, side| n.checked_mul(*side));
            let fits = voxels.is_some_and(|n| (1..=MAX_VOXELS).contains(&n));
            must(fits, "dims", &format!("must be above 0, and at most {MAX_VOXELS} voxels together"));
        }
        Step::Resample { spacing, .. } => {
            must(spacing.iter().all(|mm| *mm > 0.0), "spacing", "is not three numbers above 0");
        }
        Step::Quantiles { low, high, .. } => {
            must(is_share(*low), "low", "is not between 0 and 1");
            must(is_share(*high), "high", "is not between 0 and 1");
            must(low < high, "high", "is not above low");
        }
        // PS3.3 C.11.2.1.2.1: Window Width is at least 1.
        Step::Window { width, .. } => must(*width >= 1.0, "width", "is below 1"),
        Step::OccupiedRegion { occupancy, margin, .. } => {
            must((0.0..1.0).contains(occupancy), "occupancy", "is not from 0 to below 1");
            must(*margin > 0.0, "margin", "is not above 0");
        }
        Step::FitImage { longest, multiple, deviation, .. } => {
            must((1..=MAX_SIDE).contains(longest), "longest", &format!("is not from 1 to {MAX_SIDE}"));
            must((1..=*longest).contains(multiple), "multiple", "is not from 1 to longest");
            must(*deviation > 0.0, "deviation", "is not above 0");
        }
        Step::TextBoxes { above, score, grow, .. } => {
            must(is_share(f64::from(*above)), "above", "is not between 0 and 1");
            must(is_share(f64::from(*score)), "score", "is not between 0 and 1");
            must(*grow >= 0.0, "grow", "is below 0");
        }
        Step::ClipRange { .. }
        | Step::ZScore { .. }
        | Step::ScaleOffset { .. }
        | Step::Infer { .. }
        | Step::Softmax { .. }
        | Step::Argmax { .. }
        | Step::Channel { .. }
        | Step::Threshold { .. }
        | Step::LargestComponent { .. }
        | Step::FillHoles { .. }
        | Step::Crop { .. }
        | Step::Paste { .. }
        | Step::Onto { .. } => {}
    }
}

fn results(manifest: &Manifest, script: &mut Manuscript<'_>) {
    match (manifest.input, manifest.segments.is_empty(), &manifest.boxes) {
        (Input::Volume, true, _) => {
            script.complain("input", "a model on a volume gives [[segments]], there are none", "");
        }
        (Input::Volume, _, Some(_)) => script.complain("boxes", "a model on a volume gives segments, not boxes", ""),
        (Input::Images, _, None) => script.complain("input", "a model on images gives [boxes], there are none", ""),
        (Input::Images, false, _) => script.complain("segments", "a model on images gives boxes, not segments", ""),
        _ => {}
    }
    for (n, segment) in manifest.segments.iter().enumerate() {
        let SegmentSpec { label, category, property, finding_from_ml, .. } = segment;
        if !(1..=MAX_LABEL).contains(&label.trim().chars().count()) {
            script.complain(&format!("segments.{n}.label"), format!("does not have 1 to {MAX_LABEL} characters"), "");
        }
        if *finding_from_ml < 0.0 {
            script.complain(&format!("segments.{n}.finding_from_ml"), "is below 0", "");
        }
        code(&format!("segments.{n}.category"), category, script);
        code(&format!("segments.{n}.property"), property, script);
    }
    if let Some(boxes) = &manifest.boxes {
        code("boxes.finding", &boxes.finding, script);
    }
}

fn code(path: &str, code: &Code, script: &mut Manuscript<'_>) {
    for (key, text, most) in
        [("value", &code.value, MAX_CODE), ("scheme", &code.scheme, MAX_CODE), ("meaning", &code.meaning, MAX_LABEL)]
    {
        if !(1..=most).contains(&text.trim().chars().count()) {
            script.complain(&format!("{path}.{key}"), format!("does not have 1 to {most} characters"), "");
        }
    }
    let Code { value, scheme, .. } = code;
    let is_private = scheme.strip_prefix("99").is_some_and(|rest| !rest.is_empty());
    if !is_private && !SCHEMES.contains(&scheme.as_str()) {
        let help = format!("known here: {}, and private ones that begin with 99", SCHEMES.join(", "));
        script.complain(&format!("{path}.scheme"), format!("there is no scheme `{scheme}`"), help);
    }
    // SNOMED CT: an SCTID has 6 to 18 digits; a Code Value has room for 16.
    if scheme == "SCT" && !(value.len() >= 6 && value.bytes().all(|b| b.is_ascii_digit())) {
        let help = "write its concept identifier: 6 to 16 digits, e.g. \"10200004\" for the liver";
        script.complain(&format!("{path}.value"), format!("`{value}` is no code of SNOMED CT"), help);
    }
}

fn golden(manifest: &Manifest, n: usize, case: &Golden, script: &mut Manuscript<'_>) {
    sentence(&format!("golden.{n}.name"), &case.name, script);
    sentence(&format!("golden.{n}.origin"), &case.origin, script);
    if manifest.golden[..n].iter().any(|other| other.name == case.name) {
        script.complain(&format!("golden.{n}.name"), format!("another case is named `{}`", case.name), "");
    }
    match manifest.input {
        Input::Volume => {
            match case.volume_ml {
                None => script.complain(&format!("golden.{n}"), "nothing is expected of it", "add volume_ml"),
                Some(ml) if ml < 0.0 => script.complain(&format!("golden.{n}.volume_ml"), "is below 0", ""),
                Some(_) if !manifest.segments.iter().any(|segment| segment.volume_ml) => {
                    let help = "set volume_ml = true in the segment that is measured";
                    script.complain(&format!("golden.{n}.volume_ml"), "no segment's volume is reported", help);
                }
                Some(_) => {}
            }
            if case.tolerance_ml < 0.0 {
                script.complain(&format!("golden.{n}.tolerance_ml"), "is below 0", "");
            }
            match (&case.mask, case.least_dice) {
                (None, 0.0) => {}
                (None, _) => {
                    script.complain(&format!("golden.{n}.least_dice"), "there is no mask to compare with", "add mask");
                }
                (Some(_), least) if least > 0.0 && least <= 1.0 => {}
                (Some(_), _) => {
                    let help = "write e.g. least_dice = 0.99";
                    script.complain(&format!("golden.{n}.least_dice"), "is not above 0 and at most 1", help);
                }
            }
            if !(case.boxes.is_empty() && case.scores.is_empty()) {
                script.complain(&format!("golden.{n}.boxes"), "a model on a volume gives no boxes", "");
            }
        }
        Input::Images => {
            if case.boxes.is_empty() {
                script.complain(&format!("golden.{n}"), "nothing is expected of it", "add boxes");
            }
            if case.boxes.iter().any(|[left, top, right, bottom]| !(left < right && top < bottom)) {
                let help = "write left, top, right, bottom in pixels";
                script.complain(&format!("golden.{n}.boxes"), "holds a box that is none", help);
            }
            if !(case.least_overlap > 0.0 && case.least_overlap <= 1.0) {
                script.complain(&format!("golden.{n}.least_overlap"), "is not above 0 and at most 1", "");
            }
            if !(case.scores.is_empty() || case.scores.len() == case.boxes.len()) {
                let help = "write the score of each box, in their order, or of none";
                script.complain(&format!("golden.{n}.scores"), "are not as many as boxes", help);
            }
            if !(0.0..=1.0).contains(&case.tolerance_score) {
                script.complain(&format!("golden.{n}.tolerance_score"), "is not between 0 and 1", "");
            }
            for (key, is_there) in [("volume_ml", case.volume_ml.is_some()), ("mask", case.mask.is_some())] {
                if is_there {
                    script.complain(&format!("golden.{n}.{key}"), "a model on images gives no volume", "");
                }
            }
        }
    }
}
