//! What a region asks of golden cases. A vendor chooses the tolerances of a package; where they are wider than this, the package
//! does not serve: its golden cases would hold whatever it answers.
use super::manifest::{Golden, Manifest};
use crate::fault::{Blame, Fault};

/// The largest tolerance for a case in which nothing is to be found, ml: no percentage is taken of nothing.
const MOST_ML_OF_NOTHING: f64 = 1.0;

/// Bounds on the tolerances of golden cases; a bound that is not set asks for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Floors {
    /// Largest tolerance of a volume, in percent of the expected one.
    pub most_tolerance_ml_percent: Option<f64>,
    /// Least Dice coefficient with the expected mask. A case on a volume must have a mask.
    pub least_dice: Option<f64>,
    /// Least overlap (intersection over union) with each expected box.
    pub least_overlap: Option<f64>,
    /// Largest tolerance of a score. A case on images must have scores.
    pub most_tolerance_score: Option<f64>,
}

impl Floors {
    /// A fault where a golden case of a package asks for less than the region does.
    pub fn admit(&self, manifest: &Manifest) -> Result<(), Fault> {
        let lax: Vec<String> = manifest
            .golden
            .iter()
            .flat_map(|case| self.against(case).into_iter().map(move |reason| format!("`{}` {reason}", case.name)))
            .collect();
        if lax.is_empty() {
            return Ok(());
        }
        let reason = format!(
            "its golden cases ask for less than [golden] of the configuration does: {}; its vendor has to tighten them",
            lax.join("; ")
        );
        Err(Fault::new("golden-case-lax", Blame::Package, reason))
    }

    fn against(&self, case: &Golden) -> Vec<String> {
        let mut reasons = Vec::new();
        let mut must = |holds: bool, reason: String| {
            if !holds {
                reasons.push(reason);
            }
        };
        if let Some(ml) = case.volume_ml {
            if let Some(percent) = self.most_tolerance_ml_percent {
                let most = if ml > 0.0 { ml * percent / 100.0 } else { MOST_ML_OF_NOTHING };
                let is_within = case.tolerance_ml <= most + f64::EPSILON;
                must(
                    is_within,
                    format!("takes {:.1} ml more or less, at most {most:.1} are allowed", case.tolerance_ml),
                );
            }
            if let Some(least) = self.least_dice {
                match case.mask {
                    Some(_) => {
                        let found = case.least_dice;
                        must(found >= least, format!("takes a Dice coefficient of {found}, at least {least} is asked"));
                    }
                    None => must(false, format!("has no mask, and a Dice coefficient of at least {least} is asked")),
                }
            }
            return reasons;
        }
        // 32 bits do not hold the decimal number that was written.
        let slack = f64::from(f32::EPSILON);
        if let Some(least) = self.least_overlap {
            let found = case.least_overlap;
            must(f64::from(found) >= least - slack, format!("takes an overlap of {found}, at least {least} is asked"));
        }
        if let Some(most) = self.most_tolerance_score {
            let found = case.tolerance_score;
            if case.scores.is_empty() {
                must(false, format!("has no scores, and a tolerance of at most {most} is asked"));
            } else {
                must(
                    f64::from(found) <= most + slack,
                    format!("takes scores {found} apart, at most {most} is allowed"),
                );
            }
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(text: &str) -> Golden {
        toml::from_str(&format!("name = 'c'\norigin = 'o'\nfolder = 'f'\n{text}")).unwrap()
    }

    #[test]
    fn a_case_that_asks_for_less_than_the_region_is_told_with_each_bound() {
        let floors = Floors {
            most_tolerance_ml_percent: Some(1.0),
            least_dice: Some(0.99),
            least_overlap: Some(0.5),
            most_tolerance_score: Some(0.01),
        };
        let against = |text: &str| floors.against(&case(text)).len();
        assert_eq!(against("volume_ml = 100.0\ntolerance_ml = 1.0\nmask = 'm'\nleast_dice = 0.99"), 0);
        assert_eq!(against("volume_ml = 100.0\ntolerance_ml = 1.1\nmask = 'm'\nleast_dice = 0.98"), 2);
        assert_eq!(against("volume_ml = 100.0"), 1, "no mask");
        assert_eq!(against("volume_ml = 0.0\ntolerance_ml = 1.1\nmask = 'm'\nleast_dice = 1.0"), 1);
        assert_eq!(against("boxes = []\nleast_overlap = 0.5\nscores = [0.7]\ntolerance_score = 0.01"), 0);
        assert_eq!(against("boxes = []\nleast_overlap = 0.4\nscores = [0.7]\ntolerance_score = 0.02"), 2);
        assert_eq!(against("boxes = []\nleast_overlap = 0.6"), 1, "no scores");
        assert!(Floors::default().against(&case("volume_ml = 100.0\ntolerance_ml = 1e9")).is_empty());
    }
}
