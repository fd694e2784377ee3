//! The lengths that a network's free axes can have, as the steps before it say them.
use super::Bounds;
use crate::fault::{Blame, Fault};
use crate::limits::device::{MAX_BATCH, MAX_BATCH_VALUES};
use crate::model::manifest::{Manifest, Network};
use crate::model::step::Step;
use crate::model::tensors::Axis;

/// Bounds on the input of a network; `None` where each of its lengths is fixed. A free first axis counts a batch.
pub(super) fn bounds(manifest: &Manifest, network: &Network) -> Result<Option<Bounds>, Fault> {
    let fixed: Vec<Option<i64>> = network
        .input
        .shape
        .iter()
        .map(|axis| match axis {
            Axis::Fixed(length) => Some(*length as i64),
            Axis::Free(_) => None,
        })
        .collect();
    if fixed.iter().all(Option::is_some) {
        return Ok(None);
    }
    // Without another free axis there is nothing that a step has to bound.
    let (shortest, longest) =
        if fixed.iter().skip(1).any(Option::is_none) { sides(manifest, network)? } else { (1, 1) };
    let with = |side: i64| -> Vec<i64> { fixed.iter().map(|fixed| fixed.unwrap_or(side)).collect() };
    let (mut shortest, mut longest) = (with(shortest), with(longest));
    if let Some(None) = fixed.first() {
        (shortest[0], longest[0]) = (1, batch(&longest[1..]));
    }
    Ok(Some(Bounds { input: network.input.name.clone(), shortest, longest }))
}

/// Most inputs of these lengths in one batch.
fn batch(lengths: &[i64]) -> i64 {
    let values = lengths.iter().fold(1_u64, |values, length| values.saturating_mul(length.unsigned_abs())).max(1);
    (MAX_BATCH_VALUES / values).clamp(1, MAX_BATCH as u64) as i64
}

/// The shortest and the longest side that the step before a network makes.
fn sides(manifest: &Manifest, network: &Network) -> Result<(i64, i64), Fault> {
    let (mut shortest, mut longest) = (i64::MAX, 0);
    for step in &manifest.steps {
        let Step::Infer { from, network: name, .. } = step else { continue };
        if *name != network.name {
            continue;
        }
        let before = manifest.steps.iter().find(|step| step.values().1 == from);
        let Some(Step::FitImage { longest: most, multiple, .. }) = before else {
            let reason = format!(
                "network {} takes any length of an axis, and the step that makes `{from}` does not bound it: fix it in \
                 networks.input.shape",
                network.name
            );
            return Err(Fault::new("network-not-compiled", Blame::Package, reason));
        };
        // MODELS.md 4, fit-image: each side is max(1, round(side / multiple)) of them, and no side is above `longest`.
        let times = ((*most as f64 / *multiple as f64).round() as i64).max(1);
        shortest = shortest.min(*multiple as i64);
        longest = longest.max(times * *multiple as i64);
    }
    if longest == 0 {
        let reason = format!("network {} is run by no step, so its free axes have no bounds", network.name);
        return Err(Fault::new("network-not-compiled", Blame::Package, reason));
    }
    Ok((shortest, longest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Package;
    use std::path::Path;

    #[test]
    fn free_axes_have_the_lengths_that_the_step_before_makes() {
        let open = |model: &str| {
            Package::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models").join(model)).unwrap().manifest
        };
        let brain = open("brain-extraction");
        assert_eq!(bounds(&brain, &brain.networks[0]), Ok(None));
        let mut text = open("text-detection");
        let found = bounds(&text, &text.networks[0]).unwrap().unwrap();
        assert_eq!(
            (found.input.as_str(), found.shortest, found.longest),
            ("x", vec![1, 3, 32, 32], vec![1, 3, 736, 736])
        );
        // Of 1.6 million values: ten of them are below 16 Mi.
        text.networks[0].input.shape[0] = Axis::Free("n".into());
        let found = bounds(&text, &text.networks[0]).unwrap().unwrap();
        assert_eq!((found.shortest, found.longest), (vec![1, 3, 32, 32], vec![10, 3, 736, 736]));
        // A volume of 256 x 256 x 256 runs alone, one of 128 x 128 x 128 with seven others, a small one with fifteen.
        let mut volume = brain.networks[0].clone();
        for (side, most) in [(256, 1), (128, 8), (32, 16)] {
            volume.input.shape =
                std::iter::once(Axis::Free("n".into())).chain([1, side, side, side].map(Axis::Fixed)).collect();
            let found = bounds(&brain, &volume).unwrap().unwrap();
            assert_eq!((found.shortest[0], found.longest[0], found.longest[2]), (1, most, side as i64));
        }
        text.steps.retain(|step| !matches!(step, Step::FitImage { .. }));
        assert_eq!(bounds(&text, &text.networks[0]).unwrap_err().code, "network-not-compiled");
    }
}
