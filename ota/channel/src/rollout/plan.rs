//! Who is in which wave. A pure function: the same fleet and the same rollout give the same waves.
use super::filter::{Attributes, Filter};
use aws_lc_rs::digest::{SHA256, digest};

/// A box that may be taken.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What is known of it.
    pub attributes: Attributes,
}

/// The boxes of each wave, in the order of the waves. A box is in the first wave that takes it, and in no other.
///
/// Which boxes a percentage takes is drawn by the hash of rollout and box: fair over the fleet, another draw in each rollout, so
/// that the same boxes are not the canaries for ever.
pub fn waves(rollout: &str, filters: &[Filter], fleet: &[Candidate]) -> Vec<Vec<i64>> {
    let mut left: Vec<(&Candidate, Vec<u8>)> =
        fleet.iter().map(|candidate| (candidate, lot(rollout, candidate))).collect();
    left.sort_by(|a, b| a.1.cmp(&b.1));
    let mut waves = Vec::with_capacity(filters.len());
    for filter in filters {
        let matching = left.iter().filter(|(candidate, _)| filter.matches(&candidate.attributes)).count();
        // Rounded up: 1 % of twenty boxes is one box, not none.
        let mut places = (matching * usize::from(filter.percent)).div_ceil(100);
        let mut wave = Vec::with_capacity(places);
        left.retain(|(candidate, _)| {
            let is_taken = places > 0 && filter.matches(&candidate.attributes);
            if is_taken {
                places -= 1;
                wave.push(candidate.id);
            }
            !is_taken
        });
        waves.push(wave);
    }
    waves
}

fn lot(rollout: &str, candidate: &Candidate) -> Vec<u8> {
    digest(&SHA256, format!("{rollout}\0{}", candidate.name).as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn fleet(rings: &[u8]) -> Vec<Candidate> {
        let candidate = |(n, ring): (usize, &u8)| Candidate {
            id: n as i64,
            name: format!("box-{n}"),
            attributes: [("ring".to_owned(), ring.to_string())].into(),
        };
        rings.iter().enumerate().map(candidate).collect()
    }

    proptest! {
        #[test]
        fn every_box_is_in_one_wave_at_most_and_a_last_wave_of_all_leaves_none(
            rings in prop::collection::vec(0u8..4, 0..200),
            percents in prop::collection::vec(1u8..=100, 0..4),
        ) {
            let fleet = fleet(&rings);
            let mut filters: Vec<Filter> = percents.iter().map(|p| format!("ring!=3 {p}%").parse().unwrap()).collect();
            filters.push("100%".parse().unwrap());
            let waves = waves("north", &filters, &fleet);
            let all: Vec<i64> = waves.concat();
            prop_assert_eq!(all.len(), fleet.len());
            prop_assert_eq!(all.iter().collect::<HashSet<_>>().len(), fleet.len());
            for wave in &waves[..percents.len()] {
                prop_assert!(wave.iter().all(|id| rings[*id as usize] != 3), "a box outside the filter was taken");
            }
        }
    }

    #[test]
    fn one_percent_of_a_small_fleet_is_one_box_and_another_one_next_time() {
        let fleet = fleet(&[0; 20]);
        let filters = ["1%".parse().unwrap()];
        let canaries: HashSet<i64> = (0..20).flat_map(|n| waves(&format!("r{n}"), &filters, &fleet).concat()).collect();
        assert_eq!(waves("r1", &filters, &fleet)[0].len(), 1);
        assert!(canaries.len() > 5, "{canaries:?}");
    }
}
