//! Golden cases: known answers that an engine must give before it serves.
use super::Package;
use super::manifest::Golden;
use crate::bracket;
use crate::dataset::part10;
use crate::decode::SourceInstance;
use crate::fault::{Blame, Fault};
use crate::infer::Engine;
use crate::inference::{Findings, Inference};

/// Runs every golden case of a package on an engine; the first that does not hold is an error.
pub fn check(package: &Package, engine: &mut dyn Engine) -> Result<Vec<Inference>, Fault> {
    package.manifest.golden.iter().map(|case| check_one(package, engine, case)).collect()
}

/// Runs one golden case on an engine.
pub fn check_one(package: &Package, engine: &mut dyn Engine, case: &Golden) -> Result<Inference, Fault> {
    let inference = bracket::run(package, engine, &series(package, case)?, &mut |_| {})?;
    held(case, &inference)?;
    Ok(inference)
}

/// The images of a case.
pub fn series(package: &Package, case: &Golden) -> Result<Vec<SourceInstance>, Fault> {
    package.golden_files(&case.folder)?.iter().map(|file| part10::read_file(file)).collect()
}

/// An error where an answer is not the one that a case asks for.
pub fn held(case: &Golden, inference: &Inference) -> Result<(), Fault> {
    let missed = |reason: String| {
        Fault::new("golden-case-missed", Blame::Package, format!("golden case `{}`: {reason}", case.name))
    };
    if let Some(expected) = case.volume_ml {
        let found = inference.measurements.first().map_or(0.0, |measurement| measurement.value);
        if (found - expected).abs() > case.tolerance_ml {
            return Err(missed(format!("{found:.1} ml, {expected:.1} ± {:.1} are expected", case.tolerance_ml)));
        }
    }
    if let Findings::Images { boxes, .. } = &inference.findings {
        for expected in &case.boxes {
            let best = boxes.iter().map(|found| overlap(&found.corners, expected)).fold(0.0, f32::max);
            if best < case.least_overlap {
                return Err(missed(format!("no box meets {expected:?}; the best overlap is {best:.2}")));
            }
        }
    }
    Ok(())
}

/// Intersection over union.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let side = |low: f32, high: f32| (high - low).max(0.0);
    let area = |r: &[f32; 4]| side(r[0], r[2]) * side(r[1], r[3]);
    let shared = side(a[0].max(b[0]), a[2].min(b[2])) * side(a[1].max(b[1]), a[3].min(b[3]));
    let union = area(a) + area(b) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}
